//! Reads what `cargo public-api` lists for a crate, and normalizes the signatures for comparison.
//!
//! Paths lose crates and modules, lifetimes are removed, `Self` becomes the name of the type, and a type
//! parameter becomes its position. What differs after that is a difference for programs.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use regex::{Captures, NoExpand, Regex};

/// A public item.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Signature {
    /// `fn`, `const fn`, `unsafe fn`, `struct`, `type`, `field` and so on.
    pub(crate) kind: String,
    /// The arguments of a function, with `self`.
    pub(crate) arguments: Vec<String>,
    /// What a function returns; the type of a constant or a field; what an alias stands for; the
    /// parameters of a type.
    pub(crate) result: String,
}

/// The public items of a crate by path, without the name of the crate. Implementations of traits are
/// items, too: `impl Debug for IoUring`.
pub(crate) type Items = BTreeMap<String, Signature>;

/// A segment of a path, and its angle brackets with their content.
type Segment = (String, String);

macro_rules! regex {
    ($($NAME:ident = $text:literal;)*) => {
        $(static $NAME: LazyLock<Regex> = LazyLock::new(|| Regex::new($text).expect($text));)*
    };
}

regex! {
    ATTRIBUTE = r"#\[[^]]*\] ";
    BORROW = r"&'\w+ ";
    FIRST_LIFETIME = r"'\w+(?:: '\w+)?, ";
    ONLY_LIFETIME = r"<'\w+>";
    OUR_RESULT = r"rustix::io::errno::Result<(.*)>$";
    PATH = r"\w+(?:::\w+)+";
    SUBMITTER = r"\bSubmitter<[^>]*>";
}

/// The kinds of items that are types, or traits.
pub(crate) const TYPES: [&str; 6] = ["struct", "enum", "trait", "union", "type", "use"];

/// Reads a listing of the crate that it calls `name`.
pub(crate) fn items(listing: impl Iterator<Item = String>, name: &str) -> Result<Items> {
    let mut items = Items::new();
    let mut modules = BTreeSet::from([String::new()]);
    // The methods of a trait's implementation follow its first line. They are not compared.
    let mut of_trait = false;
    for line in listing {
        let line = line.strip_suffix(" // with a feature").unwrap_or(&line);
        let line = ATTRIBUTE.replace_all(line, "").replace("->", "→");
        if let Some(head) = line.strip_prefix("impl") {
            let implementation = implementation(&without_lifetimes(head), name);
            of_trait = head.contains(" for ");
            items.extend(implementation.map(|path| (path, Signature::of_kind("impl"))));
            continue;
        }
        let Some((kind, rest)) = kind(&line, name) else { continue };
        let (segments, rest) = path(rest);
        let names: Vec<_> = segments.iter().skip(1).map(|(name, _)| name.as_str()).collect();
        let item = names.join("::");
        of_trait &= !modules.contains(parent(&item));
        if kind == "mod" {
            modules.insert(item);
        } else if !of_trait {
            let signature = signature(kind, &segments, rest, name);
            items.insert(item, signature.with_context(|| format!("cannot read: {line}"))?);
        }
    }
    Ok(items)
}

impl Signature {
    fn of_kind(kind: &str) -> Self {
        Self { kind: kind.to_owned(), arguments: Vec::new(), result: String::new() }
    }

    /// Returns the cell of the guide for this item, which differs from `other`.
    ///
    /// `same` is this item as it is compared. What `other` has in common with it is left out.
    pub(crate) fn row(
        &self,
        path: &str,
        same: &Self,
        other: Option<&Self>,
        ours: &Items,
    ) -> String {
        let Self { kind, arguments, result } = self;
        if !kind.ends_with("fn") {
            return match other {
                None => path.to_owned(),
                Some(other) if other.kind != *kind => format!("{kind} {path}"),
                Some(_) if kind == "const" || kind == "field" => format!("{path}: {result}"),
                Some(_) if kind == "type" => format!("{path} = {result}"),
                Some(_) => format!("{path}<{result}>"),
            };
        }
        let is_self = |it: &String| ["self", "&self", "&mut self"].contains(&it.as_str());
        let argument = |(at, it): (usize, &String)| {
            let theirs = &same.arguments[at];
            let other = other.and_then(|other| other.arguments.get(at));
            let is_same = accepts(theirs, other, ours)
                || other.is_some_and(|it| accepts(it, Some(theirs), ours));
            if is_same { "_".to_owned() } else { shown(it) }
        };
        let shown: Vec<_> = arguments.iter().enumerate().filter(|(_, it)| !is_self(it)).collect();
        let shown: Vec<_> = shown.into_iter().map(argument).collect();
        let mut row = format!("{path}({})", shown.join(", "));
        if let Some(other) = other {
            if other.kind.contains("unsafe") != kind.contains("unsafe") && kind.contains("unsafe") {
                row = format!("unsafe {row}");
            }
            if other.result != same.result {
                row = format!("{row} -> {result}");
            }
        }
        row
    }

    /// Tells whether a program that uses this item compiles with `other`. A function may become `const`.
    pub(crate) fn compatible(&self, other: &Self, ours: &Items) -> bool {
        let kind = |of: &Self| of.kind.trim_start_matches("const ").to_owned();
        let constant = |of: &Self| of.kind.starts_with("const ");
        let parameters = |of: &Self| split(&of.result).len();
        let is_type = TYPES.contains(&self.kind.as_str()) && self.kind != "type";
        kind(self) == kind(other)
            && (constant(other) || !constant(self))
            && self.arguments.len() == other.arguments.len()
            && self.arguments.iter().zip(&other.arguments).all(|(a, b)| accepts(a, Some(b), ours))
            && if is_type {
                parameters(self) == parameters(other)
            } else {
                self.result == other.result
            }
    }
}

/// Tells whether an argument of type `ours` accepts values of type `theirs`. `items` has the
/// conversions.
fn accepts(theirs: &str, ours: Option<&String>, items: &Items) -> bool {
    let Some(ours) = ours else { return false };
    let target = ours.strip_prefix("impl Into<").and_then(|it| it.strip_suffix('>'));
    let converts =
        |to| theirs == to || items.contains_key(&format!("impl From<{theirs}> for {to}"));
    ours == theirs || target.is_some_and(converts)
}

/// Returns an argument as the guide writes it. The guide says once that arguments are converted.
fn shown(argument: &str) -> String {
    let converted = argument.strip_prefix("impl Into<").and_then(|it| it.strip_suffix('>'));
    converted.unwrap_or(argument).replace("$0", "E")
}

fn without_lifetimes(text: &str) -> String {
    let text = BORROW.replace_all(text, "&");
    let text = FIRST_LIFETIME.replace_all(&text, "");
    ONLY_LIFETIME.replace_all(&text, "").into_owned()
}

/// Splits `pub const fn name::path...` before the path. Returns `None` for items of other crates.
fn kind<'a>(line: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let line = line.strip_prefix("pub ")?;
    let start = line.find(&format!("{name}::"))?;
    match line[..start].trim_end() {
        "" => Some(("field", line)),
        kind if kind.ends_with("fn") => Some((kind, &line[start..])),
        kind if TYPES.contains(&kind) || ["const", "mod"].contains(&kind) => {
            Some((kind, &line[start..]))
        }
        _ => None,
    }
}

/// The path without its last segment.
pub(crate) fn parent(path: &str) -> &str {
    path.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// Splits a path into its segments, and from what follows it.
fn path(text: &str) -> (Vec<Segment>, &str) {
    let (mut segments, mut current) = (Vec::new(), Segment::default());
    let mut depth = 0;
    let mut at = 0;
    while let Some(char) = text[at..].chars().next() {
        let brackets = depth;
        depth += i32::from(char == '<') - i32::from(char == '>');
        if brackets > 0 || depth > 0 {
            current.1.push(char);
        } else if text[at..].starts_with("::") {
            segments.push(mem::take(&mut current));
            at += 1;
        } else if char.is_alphanumeric() || char == '_' {
            current.0.push(char);
        } else {
            break;
        }
        at += char.len_utf8();
    }
    segments.push(current);
    (segments, &text[at..])
}

/// Splits at the commas outside brackets.
fn split(text: &str) -> Vec<String> {
    let mut depth = 0;
    let outside = |char: char| {
        depth += i32::from("(<[".contains(char)) - i32::from(")>]".contains(char));
        char == ',' && depth == 0
    };
    let parts = text.split(outside).map(|part| part.trim().to_owned());
    parts.filter(|part| !part.is_empty()).collect()
}

/// Returns the arguments in a segment's angle brackets.
fn generics(segment: &Segment) -> Vec<String> {
    let inside = segment.1.strip_prefix('<').and_then(|it| it.strip_suffix('>'));
    inside.map_or(Vec::new(), split)
}

/// Normalizes a type. `owner` is the type that the item belongs to, and `function` has the type
/// parameters of the function.
fn ty(text: &str, owner: &Segment, function: &[String], name: &str) -> String {
    let text = without_lifetimes(text).replace("&'static ", "&");
    let text = OUR_RESULT.replace(&text, "Result<$1, Errno>");
    let mut text = shortened(&text, name);
    for (at, parameter) in generics(owner).iter().filter(|it| !it.starts_with('\'')).enumerate() {
        // Longer names are types, in an implementation for one of them only.
        let parameter = parameter.split(':').next().unwrap_or_default();
        if parameter.len() == 1 {
            text = word(&text, parameter, &format!("${at}"));
        }
    }
    for (parameter, bound) in function.iter().filter_map(|it| it.split_once(": ")) {
        text = word(&text, parameter, &format!("impl {}", shortened(bound, name)));
    }
    let text = word(&text, "Self", &owner.0).replace("<$0 as Kind>::Slot", "$0::Slot");
    // Our type has one more parameter, which has a row of its own.
    SUBMITTER.replace_all(&text, "Submitter").into_owned()
}

fn word(text: &str, from: &str, to: &str) -> String {
    if !text.contains(from) {
        return text.to_owned();
    }
    let from = Regex::new(&format!(r"\b{from}\b")).expect("an identifier");
    from.replace_all(text, NoExpand(to)).into_owned()
}

fn shortened(text: &str, name: &str) -> String {
    PATH.replace_all(text, |found: &Captures<'_>| short(&found[0], name)).into_owned()
}

/// Returns the last segment of a path, with a prefix where types share a name.
fn short(path: &str, name: &str) -> String {
    let segments: Vec<_> = path.split("::").collect();
    let (&[first, .., last] | &[first @ last]) = &segments[..] else { return String::new() };
    match (first, last) {
        _ if path == "std::io::error::Result" => "io::Result".to_owned(),
        (_, "c_uint") => "u32".to_owned(),
        (_, "c_int") => "i32".to_owned(),
        (_, "c_ulonglong") => "u64".to_owned(),
        ("rustix", "Event") => "EpollEvent".to_owned(),
        ("libc", _) => format!("libc::{last}"),
        (_, "Entry" | "Entry32" | "Entry128") if first == name => {
            format!("{}::{last}", segments[segments.len() - 2])
        }
        _ => last.to_owned(),
    }
}

fn signature(kind: &str, path: &[Segment], rest: &str, name: &str) -> Option<Signature> {
    let (last, owners) = path.split_last()?;
    // The crate comes first.
    let mut owner = owners.get(1..)?.last().cloned().unwrap_or_default();
    let names: Vec<_> = owners.iter().map(|(name, _)| name.as_str()).collect();
    owner.0 = short(&names.join("::"), name);
    let mut signature = Signature::of_kind(kind);
    let function = if kind.ends_with("fn") { generics(last) } else { Vec::new() };
    let form = |text: &str| ty(text, &owner, &function, name);
    if kind.ends_with("fn") {
        let rest = rest.strip_prefix('(')?;
        let mut depth = 1;
        let end = rest.find(|char| {
            depth += i32::from(char == '(') - i32::from(char == ')');
            depth == 0
        })?;
        signature.arguments = split(&rest[..end]).iter().map(|argument| form(argument)).collect();
        let rest = rest[end + 1..].split(" where ").next()?;
        signature.result = rest.strip_prefix(" → ").map(form).unwrap_or_default();
    } else if TYPES.contains(&kind) && kind != "type" {
        // Bounds are not compared: the traits have rows of their own.
        let names = generics(last).into_iter();
        let names: Vec<_> =
            names.map(|it| it.split(':').next().unwrap_or_default().to_owned()).collect();
        signature.result = names.join(", ");
    } else if let Some(rest) = rest.strip_prefix(": ").or_else(|| rest.strip_prefix(" = ")) {
        signature.result = form(rest);
    }
    Some(signature)
}

/// Turns `<S: Bound> Trait for Type<S>` into `impl Trait for Type`. Returns `None` for traits that
/// promise nothing.
fn implementation(head: &str, name: &str) -> Option<String> {
    let generics = path(head).0.first()?.1.len();
    let (of, implementer) = head[generics..].trim_start().split_once(" for ")?;
    let of = shortened(of, name);
    // Programs cannot name the first three. `Drop` is not an interface.
    let internal = ["Freeze", "StructuralPartialEq", "UnsafeUnpin", "Drop"].contains(&of.as_str());
    let implementer = implementer.split(" where ").next()?;
    let implementer = shortened(implementer, name);
    let implementer = implementer.split('<').next()?;
    (!internal && !of.starts_with('!')).then(|| format!("impl {of} for {implementer}"))
}
