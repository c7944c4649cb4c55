//! A release build holds nothing of a fault point: neither code nor name.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

/// A program that reaches a point, and says so.
const PROGRAM: &str = r#"
    #[macro_use]
    #[path = "MACRO"]
    mod reach;
    pub fn reached(name: &str) { eprintln!("{name}") }
    fn main() { reach!("name.of.a.point"); }
"#;

/// Compiles the program; its bytes.
fn compile(folder: &Path, assertions: &str) -> Vec<u8> {
    let program = PROGRAM.replace("MACRO", concat!(env!("CARGO_MANIFEST_DIR"), "/src/reach.rs"));
    fs::write(folder.join("program.rs"), program).unwrap();
    let output = Command::new(env::var("RUSTC").unwrap_or_else(|_| "rustc".into()))
        .current_dir(folder)
        .args(["--edition", "2024", "-C", &format!("debug-assertions={assertions}")])
        .args(["-O", "-C", "strip=symbols", "program.rs"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::read(folder.join("program")).unwrap()
}

#[test]
fn a_release_build_holds_no_name_of_a_point() {
    let folder = tempfile::tempdir().unwrap();
    let holds = |assertions| {
        let bytes = compile(folder.path(), assertions);
        bytes.windows(15).any(|window| window == b"name.of.a.point")
    };
    assert!(holds("on"), "the test looks for the wrong thing");
    assert!(!holds("off"));
}
