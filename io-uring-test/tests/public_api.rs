//! Everything that the crate promises stands in `public-api.txt`, so that a change of it shows in a
//! diff, and says whether it is a breaking one. After a change that is meant:
//!
//! ```sh
//! BLESS=1 cargo test -p io-uring-test --test public_api
//! ```
//!
//! It is read from the sources with all macros expanded, which the compiler does, also the stable
//! one if it is asked this way.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use quote::{ToTokens, quote};
use regex::Regex;
use syn::{
    Attribute, Fields, Generics, ImplItem, Item, ItemImpl, Type, UseTree, Visibility, parse_quote,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn surface_is_what_was_agreed_on() -> Result<()> {
    let without = surface(&["--no-default-features"])?;
    let mut listing = String::new();
    for line in surface(&["--all-features"])? {
        listing.push_str(&line);
        if !without.contains(&line) {
            listing.push_str(" // with a feature");
        }
        listing.push('\n');
    }
    let file = Path::new(ROOT).join("public-api.txt");
    if env::var_os("BLESS").is_some() {
        return Ok(fs::write(file, listing)?);
    }
    let agreed = fs::read_to_string(&file).context("public-api.txt")?;
    let (old, new): (BTreeSet<_>, BTreeSet<_>) =
        (agreed.lines().collect(), listing.lines().collect());
    for line in old.difference(&new) {
        println!("- {line}");
    }
    for line in new.difference(&old) {
        println!("+ {line}");
    }
    ensure!(agreed == listing, "the public surface has changed; if it is meant to, set BLESS=1");
    Ok(())
}

/// What is public, a line each.
fn surface(features: &[&str]) -> Result<BTreeSet<String>> {
    let expanded = Command::new(env!("CARGO"))
        .args(["rustc", "--quiet", "--package", "rustix-uring", "--lib", "--profile", "check"])
        .args(features)
        // Apart from the builds that do without.
        .args(["--target-dir", concat!(env!("CARGO_TARGET_TMPDIR"), "/public-api")])
        .args(["--", "-Zunpretty=expanded"])
        .env("RUSTC_BOOTSTRAP", "rustix_uring")
        .current_dir(ROOT)
        .output()?;
    let errors = String::from_utf8_lossy(&expanded.stderr);
    ensure!(expanded.status.success(), "cargo: {errors}");
    let mut krate = Crate::default();
    krate.enter(Vec::new(), syn::parse_file(&String::from_utf8(expanded.stdout)?)?.items);
    krate.exported(&[], &[]);
    krate.implemented();
    ensure!(krate.lines.len() > 1000, "only {} lines", krate.lines.len());
    Ok(krate.lines)
}

/// Names from the crate's root on.
type Names = Vec<String>;

/// What a `use` brings in: the name here, and what it stands for. The name is `*` for all there is.
type Import = (String, Names);

#[derive(Default)]
struct Crate {
    modules: BTreeMap<Names, Vec<Item>>,
    /// Under which name what is defined somewhere is public.
    public: BTreeMap<Names, Names>,
    lines: BTreeSet<String>,
}

impl Crate {
    fn enter(&mut self, module: Names, mut items: Vec<Item>) {
        for item in &mut items {
            if let Item::Mod(inner) = item {
                let content = inner.content.take().map_or(Vec::new(), |(_, items)| items);
                self.enter(within(&module, &inner.ident.to_string()), content);
            }
        }
        self.modules.insert(module, items);
    }

    /// Where something is defined, if it is in this crate.
    fn definition(&self, module: &[String], names: &[String]) -> Option<Names> {
        let (first, rest) = names.split_first()?;
        let found = match first.as_str() {
            "crate" => Vec::new(),
            "self" => module.to_vec(),
            "super" => module[..module.len() - 1].to_vec(),
            name => self.named(module, name)?,
        };
        if rest.is_empty() { Some(found) } else { self.definition(&found, rest) }
    }

    fn named(&self, module: &[String], wanted: &str) -> Option<Names> {
        let items = self.modules.get(module)?;
        if items.iter().any(|item| name(item).is_some_and(|name| name == wanted)) {
            return Some(within(module, wanted));
        }
        let imports = items.iter().flat_map(imports).map(|(_, import)| import);
        imports.filter(|(name, _)| name == wanted || name == "*").find_map(|(name, of)| {
            // What an import is imported by would be looked for for ever.
            let first = of.first().filter(|first| *first != wanted || of.len() == 1)?;
            let local = matches!(first.as_str(), "crate" | "self" | "super")
                || self.modules.contains_key(&within(module, first));
            let of = self.definition(module, local.then_some(&of)?)?;
            if name == "*" { self.named(&of, wanted) } else { Some(of) }
        })
    }

    /// Goes through what is public in a module, whose own public name is `as_`.
    fn exported(&mut self, module: &[String], as_: &[String]) {
        let Some(items) = self.modules.get(module).cloned() else { return };
        for item in &items {
            for (_, (name, of)) in imports(item).into_iter().filter(|(public, _)| *public) {
                match self.definition(module, &of) {
                    Some(of) if name == "*" => self.exported(&of, as_),
                    Some(of) => self.define(&of, within(as_, &name)),
                    None => {
                        let (name, of) = (within(as_, &name).join("::"), of.join("::"));
                        self.lines.insert(format!("pub use {of} as {name}"));
                    }
                }
            }
            if let (Some(name), true) = (name(item), is_public(item)) {
                self.define(&within(module, &name), within(as_, &name));
            }
        }
    }

    fn define(&mut self, definition: &[String], as_: Names) {
        let Some((name_, module)) = definition.split_last() else { return };
        let items = self.modules.get(module).cloned().unwrap_or_default();
        for item in items.iter().filter(|item| name(item).is_some_and(|name| name == *name_)) {
            let path = as_.join("::");
            let lines = lines(item, &path);
            self.lines.extend(lines);
            self.public.insert(definition.to_vec(), as_.clone());
            if let Item::Mod(_) = item {
                self.lines.insert(format!("pub mod {path}"));
                self.exported(definition, &as_);
            }
        }
    }

    /// Goes through the methods and the traits of what is public.
    fn implemented(&mut self) {
        let mut traits = BTreeMap::<_, BTreeSet<_>>::new();
        let mut lines = Vec::new();
        for (module, items) in &self.modules {
            for item in items {
                let Item::Impl(item) = item else { continue };
                let Some(ty) = self.public_type(module, item) else { continue };
                let bounds = generics(&item.generics);
                match &item.trait_ {
                    Some((_, path, _)) => {
                        traits.entry((bounds, ty)).or_default().insert(text(path));
                    }
                    None => {
                        let line = |member| format!("impl{bounds} {ty}: pub {member}");
                        lines.extend(item.items.iter().filter_map(member).map(line));
                    }
                }
            }
        }
        self.lines.extend(lines);
        for ((bounds, ty), traits) in traits {
            let traits: Vec<_> = traits.into_iter().collect();
            self.lines.insert(format!("impl{bounds} {} for {ty}", traits.join(" + ")));
        }
    }

    /// What an `impl` is for, if that, and the trait if there is one, are public.
    fn public_type(&self, module: &[String], item: &ItemImpl) -> Option<String> {
        if item.attrs.iter().any(|it| text(it).contains("hidden")) {
            return None;
        }
        let written = text(&item.self_ty);
        let ty = match &*item.self_ty {
            Type::Path(ty) => self.definition(module, &names(&ty.path)),
            _ => None,
        };
        let of = match &item.trait_ {
            Some((_, path, _)) if text(path).contains("StructuralPartialEq") => return None,
            Some((_, path, _)) => self.definition(module, &names(path)),
            None => None,
        };
        if of.as_ref().is_some_and(|it| !self.public.contains_key(it)) {
            return None;
        }
        match ty {
            Some(ty) => {
                let arguments = written.find('<').map_or("", |start| &written[start..]);
                Some(self.public.get(&ty)?.join("::") + arguments)
            }
            // Another crate's type.
            None => of.map(|_| written),
        }
    }
}

/// What is public in an `impl`.
fn member(item: &ImplItem) -> Option<String> {
    match item {
        ImplItem::Fn(it) if is_pub(&it.vis) => Some(text(&it.sig)),
        ImplItem::Const(it) if is_pub(&it.vis) => {
            Some(format!("const {}: {}", it.ident, text(&it.ty)))
        }
        _ => None,
    }
}

/// What an item promises by itself.
fn lines(item: &Item, path: &str) -> Vec<String> {
    let exhaustive = |attrs: &[Attribute]| {
        if attrs.iter().any(|it| it.path().is_ident("non_exhaustive")) {
            ", not exhaustive"
        } else {
            ""
        }
    };
    let fields = |fields: &Fields, public: bool| -> Vec<String> {
        let named = fields.iter().enumerate().filter(|(_, it)| public || is_pub(&it.vis));
        let line = |(index, it): (usize, &syn::Field)| {
            let name = it.ident.as_ref().map_or_else(|| index.to_string(), ToString::to_string);
            format!("pub {path}.{name}: {}", text(&it.ty))
        };
        named.map(line).collect()
    };
    match item {
        Item::Struct(it) => {
            let rest =
                if it.fields.iter().all(|it| is_pub(&it.vis)) { "" } else { ", in part private" };
            let open = exhaustive(&it.attrs);
            let mut lines = fields(&it.fields, false);
            lines.push(format!("pub struct {path}{}{rest}{open}", generics(&it.generics)));
            lines
        }
        Item::Enum(it) => {
            let open = exhaustive(&it.attrs);
            let variant = |it: &syn::Variant| format!("pub {path}::{}", text(&quote!(#it)));
            let mut lines: Vec<_> = it
                .variants
                .iter()
                .cloned()
                .map(|mut it| {
                    it.attrs.clear();
                    variant(&it)
                })
                .collect();
            lines.push(format!("pub enum {path}{}{open}", generics(&it.generics)));
            lines
        }
        Item::Trait(it) => {
            let bounds = text(&it.supertraits);
            let mut lines = vec![format!("pub trait {path}{}: {bounds}", generics(&it.generics))];
            lines.extend(it.items.iter().map(|member| {
                let mut member = member.clone();
                match &mut member {
                    syn::TraitItem::Fn(it) => {
                        it.attrs.clear();
                        it.default = it.default.take().map(|_| parse_quote!({}));
                    }
                    syn::TraitItem::Type(it) => it.attrs.clear(),
                    syn::TraitItem::Const(it) => it.attrs.clear(),
                    _ => {}
                }
                format!("pub trait {path}: {}", text(&member))
            }));
            lines
        }
        Item::Fn(it) => {
            let mut sig = it.sig.clone();
            sig.ident = parse_quote!(HERE);
            vec![format!("pub {}", text(&sig).replacen("HERE", path, 1))]
        }
        Item::Const(it) => vec![format!("pub const {path}: {}", text(&it.ty))],
        Item::Static(it) => vec![format!("pub static {path}: {}", text(&it.ty))],
        Item::Type(it) => {
            vec![format!("pub type {path}{} = {}", generics(&it.generics), text(&it.ty))]
        }
        _ => Vec::new(),
    }
}

fn name(item: &Item) -> Option<String> {
    Some(match item {
        Item::Const(it) if it.ident != "_" => it.ident.to_string(),
        Item::Enum(it) => it.ident.to_string(),
        Item::Fn(it) => it.sig.ident.to_string(),
        Item::Mod(it) => it.ident.to_string(),
        Item::Static(it) => it.ident.to_string(),
        Item::Struct(it) => it.ident.to_string(),
        Item::Trait(it) => it.ident.to_string(),
        Item::Type(it) => it.ident.to_string(),
        Item::Union(it) => it.ident.to_string(),
        _ => return None,
    })
}

fn is_public(item: &Item) -> bool {
    match item {
        Item::Const(it) => is_pub(&it.vis),
        Item::Enum(it) => is_pub(&it.vis),
        Item::Fn(it) => is_pub(&it.vis),
        Item::Mod(it) => is_pub(&it.vis),
        Item::Static(it) => is_pub(&it.vis),
        Item::Struct(it) => is_pub(&it.vis),
        Item::Trait(it) => is_pub(&it.vis),
        Item::Type(it) => is_pub(&it.vis),
        Item::Union(it) => is_pub(&it.vis),
        _ => false,
    }
}

fn is_pub(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

/// What a `use` brings in, and whether it is public; nothing for other items.
fn imports(item: &Item) -> Vec<(bool, Import)> {
    fn flat(tree: &UseTree, before: &[String], found: &mut Vec<Import>) {
        match tree {
            UseTree::Path(it) => flat(&it.tree, &within(before, &it.ident.to_string()), found),
            UseTree::Name(it) if it.ident == "self" => {
                found.extend(before.last().map(|name| (name.clone(), before.to_vec())));
            }
            UseTree::Name(it) => {
                let name = it.ident.to_string();
                found.push((name.clone(), within(before, &name)));
            }
            UseTree::Rename(it) => {
                found.push((it.rename.to_string(), within(before, &it.ident.to_string())));
            }
            UseTree::Glob(_) => found.push(("*".into(), before.to_vec())),
            UseTree::Group(it) => it.items.iter().for_each(|tree| flat(tree, before, found)),
        }
    }
    let Item::Use(item) = item else { return Vec::new() };
    let mut found = Vec::new();
    flat(&item.tree, &[], &mut found);
    found.into_iter().map(|import| (is_pub(&item.vis), import)).collect()
}

fn within(module: &[String], name: &str) -> Names {
    module.iter().cloned().chain([name.to_owned()]).collect()
}

fn names(path: &syn::Path) -> Names {
    path.segments.iter().map(|it| it.ident.to_string()).collect()
}

fn generics(generics: &Generics) -> String {
    let bounds =
        generics.where_clause.as_ref().map_or(String::new(), |it| format!(" {}", text(it)));
    text(generics) + &bounds
}

/// Tokens, spaced as one writes them.
fn text(tokens: &impl ToTokens) -> String {
    static TIGHT: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let tight = [
            // The standard library's names are known without.
            (r":: core :: (\w+ :: )*", ""),
            (" ?:: ?", "::"),
            (r" ([,;)>\]?:])", "$1"),
            (r"([(\[&!]) ", "$1"),
            (r"(\w) ?< ?", "$1<"),
            (r"\* (const|mut) ", "*$1 "),
            (r"(\w) ([(!])", "$1$2"),
            (r"([^-])> \(", "$1>("),
            (r"([(,] ?)mut (self\b|\w+:)", "$1$2"),
            ("< ", "<"),
        ];
        let compiled = |(from, to)| (Regex::new(from).expect("it is a pattern"), to);
        tight.into_iter().map(compiled).collect()
    });
    let spaced = tokens.to_token_stream().to_string().replace('\n', " ");
    TIGHT.iter().fold(spaced, |text, (from, to)| from.replace_all(&text, *to).into_owned())
}
