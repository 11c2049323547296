//! SPEC.md, code and tests name the same clauses: each clause is cited beside the code that obeys
//! it and beside a test that proves it, and nothing cites a clause that does not exist.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Clauses = BTreeSet<String>;

/// Clauses that only a test can show, because they are consequences of the others.
const CONSEQUENCES: &str = "DLV";
/// Promises to those who are attacked: consequences, too. SPEC.md itself names the tests.
const PROMISES: &str = "THR";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        if path.is_dir() && !path.ends_with("target") {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Every `ABC-12` in `text`: a few capital letters, a hyphen, digits.
fn clauses_in(text: &str) -> Clauses {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let words = text.split(|c| !is_word(c));
    words
        .filter(|word| is_clause(word))
        .map(str::to_owned)
        .collect()
}

fn is_clause(word: &str) -> bool {
    let Some((family, number)) = word.split_once('-') else {
        return false;
    };
    let is_family =
        (2..=5).contains(&family.len()) && family.chars().all(|c| c.is_ascii_uppercase());
    is_family && !number.is_empty() && number.chars().all(|c| c.is_ascii_digit())
}

/// The clauses that SPEC.md defines: list items that begin with a bold id.
fn defined() -> Clauses {
    let spec = fs::read_to_string(root().join("SPEC.md")).expect("SPEC.md");
    let items = spec.lines().filter_map(|line| line.strip_prefix("- **"));
    let bold = items.filter_map(|line| line.split_once("**"));
    let mut seen = Clauses::new();
    for (id, _) in bold.filter(|(id, _)| is_clause(id)) {
        assert!(seen.insert(id.to_owned()), "{id} is defined twice");
    }
    assert!(seen.len() > 100, "only {} clauses were found", seen.len());
    seen
}

/// Which files cite which clause, apart for code and for tests. A file's tests begin with
/// `#[cfg(test)]`; files named `tests` or below a directory of tests are nothing but tests.
fn cited() -> (BTreeMap<String, PathBuf>, BTreeMap<String, PathBuf>) {
    let mut files = Vec::new();
    for dir in ["src", "tests", "sim/src", "sim/tests"] {
        rust_files(&root().join(dir), &mut files);
    }
    let (mut in_code, mut in_tests) = (BTreeMap::new(), BTreeMap::new());
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable source file");
        let relative = file
            .strip_prefix(root())
            .expect("below the root")
            .to_owned();
        let name = relative.to_string_lossy();
        let only_tests = name.starts_with("tests/")
            || name.starts_with("sim/")
            || name.contains("/tests/")
            || name.ends_with("tests.rs");
        let (code, tests) = match text.split_once("#[cfg(test)]\nmod tests {") {
            _ if only_tests => ("", text.as_str()),
            Some((code, tests)) => (code, tests),
            None => (text.as_str(), ""),
        };
        for (text, cited) in [(code, &mut in_code), (tests, &mut in_tests)] {
            for id in clauses_in(text) {
                cited.entry(id).or_insert_with(|| relative.clone());
            }
        }
    }
    (in_code, in_tests)
}

#[test]
fn every_clause_is_cited_in_code_and_in_a_test() {
    let (in_code, in_tests) = cited();
    let mut missing = Vec::new();
    for id in defined().into_iter().filter(|id| !id.starts_with(PROMISES)) {
        if !in_code.contains_key(&id) && !id.starts_with(CONSEQUENCES) {
            missing.push(format!("{id} is cited by no code"));
        }
        if !in_tests.contains_key(&id) {
            missing.push(format!("{id} is cited by no test"));
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn nothing_cites_a_clause_that_does_not_exist() {
    let defined = defined();
    let families: BTreeSet<&str> = defined
        .iter()
        .filter_map(|id| id.split('-').next())
        .collect();
    let (in_code, in_tests) = cited();
    let unknown: Vec<_> = in_code
        .iter()
        .chain(&in_tests)
        .filter(|(id, _)| {
            id.split('-')
                .next()
                .is_some_and(|family| families.contains(family))
        })
        .filter(|(id, _)| !defined.contains(*id))
        .map(|(id, file)| format!("{id} in {}", file.display()))
        .collect();
    assert!(unknown.is_empty(), "{}", unknown.join("\n"));
}

#[test]
fn the_specification_cites_only_clauses_that_it_defines() {
    let spec = fs::read_to_string(root().join("SPEC.md")).expect("SPEC.md");
    let defined = defined();
    let families: BTreeSet<&str> = defined
        .iter()
        .filter_map(|id| id.split('-').next())
        .collect();
    let unknown: Vec<_> = clauses_in(&spec)
        .into_iter()
        .filter(|id| {
            id.split('-')
                .next()
                .is_some_and(|family| families.contains(family))
        })
        .filter(|id| !defined.contains(id))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// The names of all functions below these directories that are tests.
fn tests() -> BTreeSet<String> {
    let mut files = Vec::new();
    for dir in ["src", "tests", "sim/src", "sim/tests"] {
        rust_files(&root().join(dir), &mut files);
    }
    let mut names = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a readable source file");
        for after in text.split("#[test]").skip(1) {
            let name = after
                .split_once("fn ")
                .and_then(|(_, after)| after.split_once('('));
            names.extend(name.map(|(name, _)| name.to_owned()));
        }
    }
    names
}

#[test]
fn every_promise_about_attackers_names_tests_that_exist() {
    let spec = fs::read_to_string(root().join("SPEC.md")).expect("SPEC.md");
    let (tests, mut promises) = (tests(), 0);
    for clause in spec.split("\n- **").skip(1) {
        let (id, rest) = clause.split_once("**").unwrap_or_default();
        if !id.starts_with(PROMISES) {
            continue;
        }
        promises += 1;
        let text = rest.split("\n\n").next().unwrap_or_default();
        let quoted = text.split('`').skip(1).step_by(2);
        let named: Vec<&str> = quoted
            .filter(|word| word.matches('_').count() > 2)
            .collect();
        assert!(!named.is_empty(), "{id} names no test");
        for name in named {
            assert!(tests.contains(name), "{id} names {name}, which is no test");
        }
    }
    assert!(promises > 10, "only {promises} promises were found");
}
