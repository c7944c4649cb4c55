//! The tables of what is proved are complete, and what they name is there: every row of upstream's
//! acceptance lists and every known weakness has a test, or a sentence why it can't have one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// A table, and what must be there: the letter of a list and its last number.
struct Table {
    name: &'static str,
    text: &'static str,
    lists: &'static [(char, u32)],
}

const TABLES: [Table; 2] = [
    Table {
        name: "COVERAGE.md",
        text: include_str!("../COVERAGE.md"),
        lists: &[('G', 27), ('K', 41), ('U', 10), ('S', 11), ('F', 44)],
    },
    Table {
        name: "COVERAGE-calicoctl.md",
        text: include_str!("../COVERAGE-calicoctl.md"),
        lists: &[('A', 25), ('B', 10), ('C', 14), ('D', 8), ('X', 13), ('O', 11)],
    },
];

/// The rows of a table: their ids, and what stands in the last column.
fn rows(table: &Table) -> Vec<(String, String)> {
    let is_id = |cell: &str| {
        let mut chars = cell.chars();
        let letter = chars.next().unwrap_or_default();
        table.lists.iter().any(|(list, _)| *list == letter) && chars.as_str().parse::<u32>().is_ok()
    };
    table
        .text
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let (first, last) = (cells.first()?, cells.last()?);
            is_id(first).then(|| ((*first).to_owned(), (*last).to_owned()))
        })
        .collect()
}

/// The names of all tests of the workspace: functions under an attribute `test`, and those that a
/// macro makes tests of.
fn tests() -> BTreeSet<String> {
    fn walk(folder: &Path, names: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).expect("a folder of the workspace").flatten() {
            let path = entry.path();
            let name = entry.file_name();
            if path.is_dir() && name != "target" && !name.to_string_lossy().starts_with('.') {
                walk(&path, names);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                collect(&fs::read_to_string(&path).expect("a source"), names);
            }
        }
    }
    let mut names = BTreeSet::new();
    walk(Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace"), &mut names);
    names
}

fn collect(source: &str, names: &mut BTreeSet<String>) {
    let mut is_test = false;
    let mut in_macro = false;
    for line in source.lines().map(str::trim) {
        in_macro = match line {
            "tests::on_both_stores! {" | "on_both_stores! {" | "traces! {" => true,
            "}" => false,
            _ => in_macro,
        };
        if in_macro {
            let name = line.split(" => ").next().unwrap_or_default();
            names.extend(name.split_whitespace().map(|name| name.trim_end_matches(',').to_owned()));
        }
        if let Some(rest) = line.strip_prefix("fn ").or_else(|| line.strip_prefix("async fn ")) {
            // A test of IPAM's acceptance list is made by a macro around it.
            if is_test || rest.contains("(cluster)") {
                names.extend(rest.split(['(', '<']).next().map(str::to_owned));
            }
        }
        let is_attribute = line.starts_with("#[") || line.starts_with("//");
        is_test = line.starts_with("#[test]")
            || line.starts_with("#[tokio::test")
            || (is_test && is_attribute);
    }
}

#[test]
fn every_row_is_there_once() {
    for table in &TABLES {
        let mut counts: BTreeMap<String, u32> = BTreeMap::new();
        for (id, _) in rows(table) {
            *counts.entry(id).or_default() += 1;
        }
        for (letter, last) in table.lists {
            for number in 1..=*last {
                let id = format!("{letter}{number}");
                assert_eq!(counts.remove(&id), Some(1), "{}: rows of {id}", table.name);
            }
        }
        assert!(counts.is_empty(), "{}: no such rows: {counts:?}", table.name);
    }
}

#[test]
fn every_row_names_tests_that_exist_or_says_why_there_is_none() {
    let tests = tests();
    let mut problems = Vec::new();
    for (id, proof) in TABLES.iter().flat_map(rows) {
        // Of words in quotes those are tests that could be names of functions.
        let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        let named: Vec<&str> = proof.split('`').skip(1).step_by(2).filter(is_name).collect();
        match proof.strip_prefix("none: ") {
            Some(why) if why.len() < 20 => problems.push(format!("{id} doesn't say why")),
            Some(_) => {}
            None if named.is_empty() => problems.push(format!("{id} names no test")),
            None => {
                let missing = named.iter().filter(|name| !tests.contains(**name));
                problems.extend(missing.map(|name| format!("{id}: there is no test {name}")));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
