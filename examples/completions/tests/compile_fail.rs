//! Programs that must not compile fail with the expected error.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// Bodies of programs, and the error that the compiler reports for each. The first one compiles.
const PROGRAMS: [(&str, &str, Option<&str>); 9] = [
    (
        "compiles",
        "let mut buf = [0; 8];
        ring.scope(|scope| {
            let (read, buf) = scope.start(read_at(&file, &mut buf, 0)).wait();
            scope.start(write_at(&file, &buf[..read.unwrap()], 0)).wait().0.unwrap();
            scope.start(write_at(&file, &DATA, 0)).wait().0.unwrap();
        });
        buf[0] = 1;",
        None,
    ),
    (
        "completion_outlives_buffer",
        "ring.scope(|scope| {
            let mut buf = [0; 8];
            let reading = scope.start(read_at(&file, &mut buf, 0));
            std::mem::forget(reading);
        });",
        Some("E0597"),
    ),
    (
        "completion_outlives_scope",
        "let (mut buf, mut kept) = ([0; 8], None);
        ring.scope(|scope| kept = Some(scope.start(read_at(&file, &mut buf, 0))));
        kept.unwrap().wait();",
        Some("E0521"),
    ),
    (
        "buffer_of_a_thread",
        "ring.scope(|scope| std::thread::scope(|threads| {
            threads.spawn(|| {
                let mut buf = [0; 8];
                std::mem::forget(scope.start(read_at(&file, &mut buf, 0)));
            });
        }));",
        Some("E0597"),
    ),
    (
        "buffer_of_a_future",
        "ring.scope(|scope| block_on(async {
            let mut buf = [0; 8];
            scope.read_at(&file, &mut buf, 0).await.0.unwrap();
        }));",
        Some("E0597"),
    ),
    (
        "buffer_is_not_mutable",
        "let buf = [0; 8];
        ring.scope(|scope| scope.start(read_at(&file, &mut buf, 0)).wait().0.unwrap());",
        Some("E0596"),
    ),
    (
        "buffer_is_borrowed_to_be_read",
        "let buf = [0; 8];
        ring.scope(|scope| scope.start(read_at(&file, &buf, 0)).wait().0.unwrap());",
        Some("E0277"),
    ),
    (
        "buffer_is_static",
        "ring.scope(|scope| scope.start(read_at(&file, &mut DATA, 0)).wait().0.unwrap());",
        Some("E0596"),
    ),
    (
        "buffer_is_looked_at",
        "let mut buf = [0; 8];
        ring.scope(|scope| {
            let reading = scope.start(read_at(&file, &mut buf, 0));
            assert_eq!(buf, [0; 8]);
            reading.wait().0.unwrap();
        });",
        Some("E0502"),
    ),
];

/// Returns a program with this body.
fn program(body: &str) -> String {
    format!(
        "#![allow(unused)]
use completions::{{Ring, block_on, read_at, write_at}};

static DATA: [u8; 8] = *b\"constant\";

fn main() {{
    let ring = Ring::new(8).unwrap();
    let file = std::fs::File::open(\"file\").unwrap();
    {body}
}}
"
    )
}

#[test]
fn misuse_does_not_compile() {
    let project = tempfile::tempdir().unwrap();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    let bins = project.path().join("src/bin");
    fs::create_dir_all(&bins).unwrap();
    fs::copy(manifest.join("../../Cargo.lock"), project.path().join("Cargo.lock")).unwrap();
    let dependency = format!("completions = {{ path = {manifest:?} }}");
    let package = "[package]\nname = \"misuse\"\nedition = \"2024\"\n[workspace]\n[dependencies]\n";
    fs::write(project.path().join("Cargo.toml"), format!("{package}{dependency}\n")).unwrap();
    for (name, body, _) in PROGRAMS {
        fs::write(bins.join(format!("{name}.rs")), program(body)).unwrap();
    }

    // Next to this executable, so the dependencies are checked only once.
    let target = env::current_exe().unwrap().with_file_name("misuse");
    let checked = Command::new(env!("CARGO"))
        .args(["check", "--bins", "--keep-going", "--offline", "--message-format=json"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(project.path())
        .output()
        .unwrap();
    let messages = String::from_utf8(checked.stdout).unwrap();
    for (name, _, expected) in PROGRAMS {
        let target = format!("\"name\":{name:?},");
        let errors: Vec<_> = messages
            .lines()
            .filter(|line| line.contains(&target) && line.contains("\"level\":\"error\""))
            .filter_map(|line| line.split_once("\"code\":{\"code\":\"")?.1.split('"').next())
            .collect();
        let finished = String::from_utf8_lossy(&checked.stderr);
        assert_eq!(errors, Vec::from_iter(expected), "{name}: {finished}");
        let compiled = messages.lines().any(|line| {
            line.contains("\"reason\":\"compiler-artifact\"") && line.contains(&target)
        });
        assert_eq!(compiled, expected.is_none(), "{name}: {finished}");
    }
}
