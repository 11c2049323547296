//! Three people who talk at the same time, and what all of them must have shown.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::process::Process;
use super::transcript::finished_lines;
use super::{Scene, Stopwatch};

/// Their names, in the order in which they join.
pub(crate) const NAMES: [&str; 3] = ["ada", "bob", "cleo"];

/// One node for each of [`NAMES`].
pub(crate) struct Crowd {
    pub(crate) nodes: Vec<Process>,
    /// How many lines each of them has typed.
    typed: usize,
}

impl Crowd {
    /// Starts a node for each name, one after the other, until each has seen all later ones join.
    pub(crate) fn join(scene: &Scene, broker: SocketAddr) -> Self {
        let mut nodes: Vec<Process> = Vec::new();
        for name in NAMES {
            let node = scene.join(broker, name);
            for earlier in &nodes {
                earlier.shows(&format!("SERVER: {name} Joined!"));
            }
            nodes.push(node);
        }
        Self { nodes, typed: 0 }
    }

    /// Each types so many lines more, in turn.
    pub(crate) fn type_lines(&mut self, lines: usize) {
        for _ in 0..lines {
            self.typed += 1;
            for node in &mut self.nodes {
                node.type_line(&format!("line {}", self.typed));
            }
        }
    }

    /// Waits until every node has shown as many lines as were typed.
    pub(crate) fn shows_all_within(&self, patience: Duration) {
        let waited = Stopwatch::start();
        for (index, node) in self.nodes.iter().enumerate() {
            // What a node has shown before: itself and those who came after it.
            let total = NAMES.len() - index + NAMES.len() * self.typed;
            let left = patience.saturating_sub(waited.elapsed());
            node.shows_until(left, |text| finished_lines(text).count() >= total);
        }
    }

    /// Checks all that every node has shown, byte for byte: those who joined, and then every line
    /// that was typed, once, in the order of its author, and in the same order everywhere.
    #[track_caller]
    pub(crate) fn has_shown_the_same_and_nothing_else(&self) {
        let first: Vec<String> = finished_lines(&self.nodes[0].stdout.text())
            .skip(NAMES.len())
            .map(str::to_owned)
            .collect();
        for (index, node) in self.nodes.iter().enumerate() {
            let joined = NAMES[index..]
                .iter()
                .map(|name| format!("SERVER: {name} Joined!"));
            let expected: Vec<String> = joined.chain(first.iter().cloned()).collect();
            let expected: Vec<&str> = expected.iter().map(String::as_str).collect();
            node.has_shown_exactly(&expected);
        }
        assert_eq!(first.len(), NAMES.len() * self.typed);
        assert_eq!(first.len(), first.iter().collect::<BTreeSet<_>>().len());
        for name in NAMES {
            let own: Vec<&String> = first
                .iter()
                .filter(|line| line.starts_with(&format!("{name}: ")))
                .collect();
            let expected: Vec<String> = (1..=self.typed)
                .map(|number| format!("{name}: line {number}"))
                .collect();
            assert!(own.iter().copied().eq(&expected), "{name}: {own:?}");
        }
    }
}
