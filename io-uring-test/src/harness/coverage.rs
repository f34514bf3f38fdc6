//! Records which of the kernel's operations the cases exercised, and which they did not.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;

use anyhow::bail;
use rustix_uring::sys::op_name;

use super::case::Case;
use super::kernel::{REGISTER_OPS, RESTRICTED, last_register_op, opcode_name, probe, short};
use super::need::Need;
use super::outcome::{Result, State};
use super::submitted;

/// Fails if a case on rings of the harness needs an operation that it did not submit.
pub(super) fn check(needs: &[Need]) -> Result {
    for need in needs {
        match need {
            Need::Opcode(code) if !submitted::contains(*code) => {
                bail!("the case needs {}, but did not submit it", opcode_name(*code));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The operations for which no case is named after the kernel's name of the operation.
pub(crate) fn unnamed<'c>(cases: impl Iterator<Item = &'c Case> + Clone) -> Vec<&'static str> {
    let operations = (0..).map_while(|code| Some((code, op_name(code)?)));
    let is_unnamed = |&(code, name): &(u8, &'static str)| {
        let name = name.trim_start_matches("IORING_OP_").to_lowercase();
        !cases.clone().any(|case| {
            let mut needs = case.needs.iter();
            case.name.contains(&name)
                && needs.any(|need| matches!(need, Need::Opcode(it) if *it == code))
        })
    };
    operations.filter(is_unnamed).map(|(_, name)| name).collect()
}

/// The outcomes of the cases for each operation of the kernel.
#[derive(Default)]
pub(crate) struct Coverage {
    opcodes: BTreeMap<u8, State>,
    register_ops: BTreeMap<u32, State>,
    cases: Vec<(String, State)>,
}

impl Coverage {
    pub(super) fn add(&mut self, case: &str, needs: &[Need], state: &State) {
        for need in needs {
            let known = match need {
                Need::Opcode(code) => self.opcodes.entry(*code).or_insert_with(|| state.clone()),
                Need::Register(op) => self.register_ops.entry(*op).or_insert_with(|| state.clone()),
                _ => continue,
            };
            if *state > *known {
                known.clone_from(state);
            }
        }
        self.cases.push((case.to_owned(), state.clone()));
    }

    /// Lists the operations that the kernel has and no passing case exercised.
    pub(crate) fn summary(&self) -> Result<String> {
        let (opcodes, register_ops) = self.operations()?;
        let list = |rows: Vec<Row>| {
            let gaps = rows.iter().filter(|row| !matches!(row.state, "passed" | "absent"));
            match gaps.map(|row| row.name).collect::<Vec<_>>() {
                gaps if gaps.is_empty() => "none".to_owned(),
                gaps => gaps.join(" "),
            }
        };
        Ok(format!(
            "opcodes not exercised: {}\nregister operations not exercised: {}",
            list(opcodes),
            list(register_ops)
        ))
    }

    /// Writes one line for each operation and each case, with tab-separated fields: group, name,
    /// state and reason. The state is `passed`, `failed` or `skipped`; for operations also `absent`
    /// or `untried`.
    pub(crate) fn write(&self, to: &mut impl Write) -> Result {
        let (opcodes, register_ops) = self.operations()?;
        for (group, rows) in [("opcode", opcodes), ("register", register_ops)] {
            for row in rows {
                writeln!(to, "{group}\t{}", row)?;
            }
        }
        for (name, state) in &self.cases {
            writeln!(to, "case\t{}", Row::new(name, Some(state)))?;
        }
        Ok(())
    }

    fn operations(&self) -> Result<(Vec<Row<'_>>, Vec<Row<'_>>)> {
        let probe = probe()?;
        let opcode = |(code, name): (u8, &'static str)| match probe.is_supported(code) {
            true => Row::new(name, self.opcodes.get(&code)),
            false => Row::absent(name, "the probe"),
        };
        let last = last_register_op()?;
        let register_op = |&(op, name): &(u32, &'static str)| match last {
            Some(last) if op > last => Row::absent(name, RESTRICTED),
            _ => Row::new(name, self.register_ops.get(&op)),
        };
        let opcodes = (0..).map_while(|code| Some((code, op_name(code)?)));
        Ok((opcodes.map(opcode).collect(), REGISTER_OPS.iter().map(register_op).collect()))
    }
}

/// A line of the report.
struct Row<'r> {
    name: &'r str,
    state: &'static str,
    reason: &'r str,
}

impl<'r> Row<'r> {
    fn absent(name: &'r str, reason: &'r str) -> Self {
        Self { name: short(name), state: "absent", reason }
    }

    fn new(name: &'r str, state: Option<&'r State>) -> Self {
        let (state, reason) = match state {
            None => ("untried", "no case needs it"),
            Some(State::Skipped { reason }) => ("skipped", &reason[..]),
            Some(State::Passed) => ("passed", ""),
            Some(State::Failed { cause }) => ("failed", &cause[..]),
        };
        Self { name: short(name), state, reason }
    }
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = self.reason.replace(['\t', '\n'], " ");
        write!(f, "{}\t{}\t{reason}", self.name, self.state)
    }
}
