//! Tests that end their process.

use std::env;
use std::process::{Command, ExitStatus};

/// Runs one of the ignored tests in its own process. Returns its exit status and its standard error.
pub(super) fn apart(test: &str) -> (ExitStatus, String) {
    let output = apart_with(test, |command| command.output().unwrap());
    (output.status, String::from_utf8(output.stderr).unwrap())
}

/// Same as [`apart`], but lets `run` start the process.
pub(super) fn apart_with<T>(test: &str, run: impl FnOnce(&mut Command) -> T) -> T {
    let test = format!("tests::{test}");
    run(Command::new(env::current_exe().unwrap()).args([
        "--exact",
        &test,
        "--ignored",
        "--nocapture",
        "--test-threads=1",
    ]))
}
