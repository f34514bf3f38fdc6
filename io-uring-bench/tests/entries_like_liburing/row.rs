//! The notation of a row, and the comparison of its two sides.

use std::cell::Cell;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use rustix_uring::squeue::{Entry128, Sqe};

/// A 128-byte entry as the C functions get it. A 64-byte entry is its first half, and the functions
/// must not write to the second half.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub(crate) struct Sqe128 {
    pub(crate) sqe: Sqe,
    rest: [u8; 64],
}

impl From<Entry128> for Sqe128 {
    fn from(entry: Entry128) -> Self {
        let (sqe, rest) = entry.into_raw();
        Self { sqe, rest }
    }
}

// This library has the functions of all rows. Cargo passes on the folder where `axboe-liburing` put
// it.
#[link(name = "uring-ffi", kind = "static")]
unsafe extern "C" {
    fn io_uring_initialize_sqe(sqe: *mut Sqe128);
}

impl Sqe128 {
    /// A slot as `io_uring_get_sqe` returns it: with its previous content, except where
    /// `io_uring_initialize_sqe` writes zeros.
    pub(crate) fn lent(before: u8) -> Self {
        let word = u64::from_ne_bytes([before; 8]);
        let sqe = Sqe {
            opcode: before,
            flags: before,
            ioprio: word as u16,
            fd: word as i32,
            off: word,
            addr: word,
            len: word as u32,
            op_flags: word as u32,
            user_data: word,
            buf_index: word as u16,
            personality: word as u16,
            file_index: word as u32,
            addr3: word,
            pad2: word,
        };
        let mut lent = Self { sqe, rest: [0; 64] };
        // SAFETY: the function writes only to the fields of the entry.
        unsafe { io_uring_initialize_sqe(&mut lent) };
        lent
    }
}

/// A function of liburing, and the expression that builds the same entry with this crate.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) arguments: &'static [(&'static str, &'static str)],
    /// The expression as written in the table.
    pub(crate) ours: &'static str,
    /// The reason why some tuples have no entry here. There is at most one.
    pub(crate) none: &'static [&'static str],
    /// The reasons why the entries of some tuples differ.
    pub(crate) but: &'static [&'static str],
    pub(crate) run: fn(&Tally, &mut TestRunner) -> Result<(), String>,
}

impl Row {
    /// The signature in the header.
    pub(crate) fn signature(&self) -> Vec<(&'static str, &'static str)> {
        let name = |name: &'static str| name.strip_prefix("r#").unwrap_or(name);
        self.arguments.iter().map(|&(argument, kind)| (name(argument), kind)).collect()
    }

    /// The identifiers in the expression.
    pub(crate) fn words(&self) -> impl Iterator<Item = &'static str> + use<> {
        self.ours.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
    }

    /// Compares at least `tuples` tuples, until each extreme of each argument has occurred.
    pub(crate) fn compare(&self, tuples: u32) -> Result<Tally, String> {
        let tally = Tally {
            compared: Cell::new(0),
            none: self.none.first().map(|&reason| (reason, Cell::new(0))),
            but: self.but.iter().map(|&reason| (reason, Cell::new(0))).collect(),
        };
        let mut tried = 0;
        while tally.compared.get() < tuples {
            let config = Config { cases: tuples, failure_persistence: None, ..Config::default() };
            (self.run)(&tally, &mut TestRunner::new(config))
                .map_err(|failure| format!("{}: {failure}", self.name))?;
            tried += 1;
            if tried == 1_000 {
                return Err(format!("{}: almost no tuple has an entry in this crate", self.name));
            }
        }
        Ok(tally)
    }
}

/// The statistics of a row.
pub(crate) struct Tally {
    compared: Cell<u32>,
    none: Option<(&'static str, Cell<u32>)>,
    but: Vec<(&'static str, Cell<u32>)>,
}

impl Tally {
    pub(crate) fn compared(&self) -> u64 {
        self.compared.get().into()
    }

    /// The reasons of the row, and how often each was needed.
    pub(crate) fn differences(&self) -> impl Iterator<Item = (&'static str, u32)> {
        let all = self.none.iter().chain(&self.but);
        all.map(|(reason, count)| (*reason, count.get()))
    }

    /// Records that a tuple has no entry here.
    pub(crate) fn none(&self) -> Result<(), TestCaseError> {
        let Some((_, count)) = &self.none else {
            return Err(TestCaseError::fail(
                "this tuple has no entry in this crate, and the row states no reason",
            ));
        };
        count.set(count.get() + 1);
        Ok(())
    }

    /// Makes the entry of liburing equal ours where the reason with this number permits a
    /// difference.
    pub(crate) fn but(&self, reason: usize, theirs: &mut Sqe, change: impl FnOnce(&mut Sqe)) {
        let unchanged = *theirs;
        change(theirs);
        if *theirs != unchanged {
            let (_, count) = &self.but[reason];
            count.set(count.get() + 1);
        }
    }

    pub(crate) fn equal(&self, theirs: Sqe128, ours: Sqe128) -> Result<(), TestCaseError> {
        self.compared.set(self.compared.get() + 1);
        if theirs == ours {
            return Ok(());
        }
        Err(TestCaseError::fail(format!("theirs: {theirs:x?}\nours:   {ours:x?}")))
    }
}

/// The rows, one for each function, or for each builder that corresponds to it:
///
/// ```text
/// function(argument: type, ...) => entry;
/// ```
///
/// The argument `sqe` is omitted if it is the first. Arguments before it are in brackets. The
/// function gets a slot as `io_uring_get_sqe` returns it, or the entry given after `upon`. A `?`
/// in our expression ends it for arguments that our types cannot express.
///
/// ```text
///     , none REASON
///     , but REASON if condition => |theirs| change
/// ```
///
/// These clauses state why some tuples have no entry here, and what is changed in the entry of
/// liburing before the comparison.
macro_rules! rows {
    ($(
        $name:ident $([$($before:ident: $Before:ty),*])? ($($arg:ident: $Arg:ty),*)
        $(upon $base:expr)? => $ours:expr
        $(, none $none:ident)?
        $(, but $but:ident if $condition:expr => $change:expr)*;
    )*) => { vec![$({
        unsafe extern "C" {
            fn $name($($($before: $Before,)*)? sqe: *mut Sqe128, $($arg: $Arg),*);
        }
        #[allow(unused_mut, unused_assignments, unused_variables, reason = "of rows without")]
        #[allow(clippy::redundant_closure_call, reason = "the closure is for the ?")]
        fn run(tally: &Tally, runner: &mut TestRunner) -> Result<(), String> {
            let check = |before: u8, $($($before: $Before,)*)? $($arg: $Arg),*| {
                let mut theirs = Sqe128::lent(before);
                let mut user_data = theirs.sqe.user_data;
                $(
                    theirs = Entry128::from($base).into();
                    user_data = 0;
                )?
                // SAFETY: the function writes only to the fields of the entry, and uses pointers
                // only as numbers.
                unsafe { $name($($($before,)*)? &mut theirs, $($arg),*) };
                let ours = (|| Some(Sqe128::from(Entry128::from($ours))))();
                let Some(mut ours) = ours else { return tally.none() };
                ours.sqe.user_data |= user_data;
                let mut reason = 0;
                $(
                    if $condition {
                        tally.but(reason, &mut theirs.sqe, $change);
                    }
                    reason += 1;
                )*
                tally.equal(theirs, ours)
            };
            for n in 0..EXTREMES {
                $($(let $before = <$Before>::extreme(n);)*)?
                $(let $arg = <$Arg>::extreme(n);)*
                check(n as u8, $($($before,)*)? $($arg),*).map_err(|failure| {
                    let arguments: &[String] = &[
                        $($(format!("{}: {:?}", stringify!($before), $before),)*)?
                        $(format!("{}: {:?}", stringify!($arg), $arg),)*
                    ];
                    format!("{failure}\nfor {}", arguments.join(", "))
                })?;
            }
            let strategies = (
                any::<u8>(), $($(<$Before>::strategy(),)*)? $(<$Arg>::strategy(),)*
            );
            runner
                .run(&strategies, |(before, $($($before,)*)? $($arg,)*)| {
                    check(before, $($($before,)*)? $($arg),*)
                })
                .map_err(|failure| failure.to_string())
        }
        Row {
            name: stringify!($name),
            arguments: &[
                $($((stringify!($before), stringify!($Before)),)*)?
                ("sqe", "*mut Sqe128"),
                $((stringify!($arg), stringify!($Arg)),)*
            ],
            ours: stringify!($ours),
            none: &[$($none)?],
            but: &[$($but),*],
            run,
        }
    }),*] };
}
pub(crate) use rows;
