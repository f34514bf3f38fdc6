//! The program that the explorer prints for a difference compiles and runs, so it can be pasted
//! into a test.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The number of further programs to compile, because that of the difference is short.
const MORE: u64 = 40;

/// The program in the output of the explorer.
fn program(arguments: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_explore")).args(arguments).output();
    let text = String::from_utf8(output.expect("cannot run the explorer").stdout).expect("text");
    let begin = text
        .find("#![allow(unused)]")
        .unwrap_or_else(|| panic!("the explorer printed no program: {text}"));
    text[begin..].replacen("#![allow(unused)]", "", 1)
}

fn arguments(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_string).collect()
}

#[test]
#[ignore = "compiles another crate; CI runs it by name"]
fn a_difference_is_printed_as_a_program_that_compiles_and_runs() {
    let mut code = String::from("#![allow(unused)]\n");
    for episode in 0..MORE {
        let program = program(&arguments(&format!("--seed 1 --episode {episode} --show")));
        code += &format!("mod episode_{episode} {{{program}}}\n");
    }
    let shortest = program(&arguments("--seed 1 --inject"));
    let difference = shortest.lines().find(|line| line.contains("// and here: step "));
    let says =
        difference.is_some_and(|line| line.contains(": ring: ready: 2 (the model: ready: 3)"));
    assert!(says, "{shortest}");
    code += &shortest;

    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = here.parent().expect("no workspace folder");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("explored");
    fs::create_dir_all(folder.join("src")).expect("cannot create the folder");
    let manifest = format!(
        "[package]\nname = \"explored\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\nrustix-uring = {{ path = {root:?}, features = [\"raw-syscall\"] }}\n\
         rustix = {{ version = \"1\", features = [\"event\", \"fs\", \"mm\", \"net\", \"pipe\"] }}\n"
    );
    fs::write(folder.join("Cargo.toml"), manifest).expect("cannot write the manifest");
    fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))
        .expect("cannot copy the lock file");
    fs::write(folder.join("src/main.rs"), code).expect("cannot write the program");
    let status = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--manifest-path"])
        .arg(folder.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .status();
    assert!(status.expect("cannot run cargo").success());
}
