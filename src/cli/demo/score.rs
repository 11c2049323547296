//! What was typed, what was shown, and what the two say about the contract.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::time::Timestamp;

/// Everything that was typed and shown so far.
#[derive(Debug)]
pub(super) struct Score {
    /// When each line was typed, by the line as it is shown.
    typed: BTreeMap<String, Timestamp>,
    /// Who typed which lines, in order, by the author's index.
    by_author: Vec<Vec<String>>,
    /// What each node has shown.
    screens: Vec<Screen>,
}

#[derive(Clone, Debug, Default)]
struct Screen {
    /// Lines typed by anybody, in the order in which they were shown first.
    order: Vec<String>,
    times: BTreeMap<String, usize>,
    /// Lines that nobody typed.
    invented: Vec<String>,
    /// From typed to shown, for each line.
    delays: Vec<Duration>,
    /// Notices that somebody came or went, when nobody did.
    noise: Vec<String>,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) sent: usize,
    pub(super) shown: Vec<usize>,
    pub(super) lost: usize,
    pub(super) duplicated: usize,
    pub(super) out_of_order: usize,
    pub(super) invented: usize,
    pub(super) noise: usize,
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) max: Duration,
}

impl Score {
    pub(super) fn new(nodes: usize) -> Self {
        Self {
            typed: BTreeMap::new(),
            by_author: vec![Vec::new(); nodes],
            screens: vec![Screen::default(); nodes],
        }
    }

    /// `author` types a line, which is to be shown as `line`; no two are the same.
    pub(super) fn typed(&mut self, author: usize, line: String, now: Timestamp) {
        self.by_author[author].push(line.clone());
        self.typed.insert(line, now);
    }

    /// A node shows a line of its stdout.
    pub(super) fn shown(&mut self, node: usize, line: String, now: Timestamp) {
        let screen = &mut self.screens[node];
        if line.starts_with("SERVER: ") {
            screen.noise.push(line);
            return;
        }
        let Some(typed_at) = self.typed.get(&line) else {
            screen.invented.push(line);
            return;
        };
        let times = screen.times.entry(line.clone()).or_default();
        *times += 1;
        if *times == 1 {
            screen.delays.push(now.saturating_since(*typed_at));
            screen.order.push(line);
        }
    }

    pub(super) fn sent(&self) -> usize {
        self.typed.len()
    }

    /// How many different lines each node has shown.
    pub(super) fn counts(&self) -> Vec<usize> {
        self.screens
            .iter()
            .map(|screen| screen.order.len())
            .collect()
    }

    /// Whether every node has shown every line.
    pub(super) fn is_complete(&self) -> bool {
        self.counts().iter().all(|count| *count == self.sent())
    }

    pub(super) fn verdict(&self) -> Verdict {
        let mut delays: Vec<Duration> =
            self.screens.iter().flat_map(|s| s.delays.clone()).collect();
        delays.sort_unstable();
        let percentile = |percent: usize| {
            let index = (delays.len() * percent / 100).min(delays.len().saturating_sub(1));
            delays.get(index).copied().unwrap_or_default()
        };
        let sum = |count: &dyn Fn(&Screen) -> usize| self.screens.iter().map(count).sum();
        Verdict {
            sent: self.sent(),
            shown: self.counts(),
            lost: sum(&|screen| self.sent() - screen.order.len()),
            duplicated: sum(&|screen| screen.times.values().map(|times| times - 1).sum()),
            out_of_order: sum(&|screen| self.out_of_order(screen)),
            invented: sum(&|screen| screen.invented.len()),
            noise: sum(&|screen| screen.noise.len()),
            p50: percentile(50),
            p99: percentile(99),
            max: delays.last().copied().unwrap_or_default(),
        }
    }

    /// How many lines a screen shows before one that the first screen, or their author, has
    /// before them.
    fn out_of_order(&self, screen: &Screen) -> usize {
        let authors = self.by_author.iter();
        let by_author: usize = authors.map(|lines| inversions(lines, &screen.order)).sum();
        by_author + inversions(&self.screens[0].order, &screen.order)
    }
}

/// How many lines of `order` come after one that `reference` has behind them.
fn inversions(reference: &[String], order: &[String]) -> usize {
    let places: BTreeMap<&String, usize> = reference.iter().zip(0..).collect();
    let mut last = None;
    let mut count = 0;
    for place in order.iter().filter_map(|line| places.get(line)) {
        if last.is_some_and(|last| place < last) {
            count += 1;
        } else {
            last = Some(place);
        }
    }
    count
}

impl Verdict {
    /// Whether the delivery contract held (DLV-1 to DLV-7).
    pub(super) const fn holds(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.out_of_order == 0
            && self.invented == 0
            && self.noise == 0
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sent {}   shown", self.sent)?;
        for count in &self.shown {
            write!(f, " {count}")?;
        }
        write!(
            f,
            "   lost {}   duplicated {}   out of order {}",
            self.lost, self.duplicated, self.out_of_order
        )?;
        if self.invented > 0 {
            write!(f, "   never typed {}", self.invented)?;
        }
        if self.noise > 0 {
            write!(f, "   false joined/left {}", self.noise)?;
        }
        write!(
            f,
            "   p50 {} ms   p99 {} ms   max {} ms",
            self.p50.as_millis(),
            self.p99.as_millis(),
            self.max.as_millis()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes, and three lines that the first one typed at once.
    fn typed() -> Score {
        let mut score = Score::new(2);
        for line in ["ada: 1", "ada: 2", "ada: 3"] {
            score.typed(0, line.to_owned(), Timestamp::ZERO);
        }
        score
    }

    fn show(score: &mut Score, node: usize, lines: &[&str]) {
        for (line, ms) in lines.iter().zip(1..) {
            score.shown(node, (*line).to_owned(), Timestamp::from_millis(ms));
        }
    }

    #[test]
    fn a_conversation_that_everybody_has_seen_whole_holds() {
        let mut score = typed();
        show(&mut score, 0, &["ada: 1", "ada: 2", "ada: 3"]);
        assert!(!score.is_complete());
        show(&mut score, 1, &["ada: 1", "ada: 2", "ada: 3"]);
        assert!(score.is_complete());
        let verdict = score.verdict();
        assert!(verdict.holds());
        let text = "sent 3   shown 3 3   lost 0   duplicated 0   out of order 0   \
                    p50 2 ms   p99 3 ms   max 3 ms";
        assert_eq!(verdict.to_string(), text);
    }

    /// DLV-1 to DLV-7.
    #[test]
    fn whatever_breaks_the_contract_is_counted() {
        let verdict = |lines: &[&str]| {
            let mut score = typed();
            show(&mut score, 0, &["ada: 1", "ada: 2", "ada: 3"]);
            show(&mut score, 1, lines);
            let verdict = score.verdict();
            assert!(!verdict.holds());
            verdict
        };
        assert_eq!(verdict(&["ada: 1", "ada: 3"]).lost, 1);
        let twice = verdict(&["ada: 1", "ada: 2", "ada: 2", "ada: 3"]);
        assert_eq!((twice.duplicated, twice.lost), (1, 0));
        let swapped = verdict(&["ada: 2", "ada: 1", "ada: 3"]);
        assert!(swapped.out_of_order > 0);
        let invented = verdict(&["ada: 1", "ada: 2", "ada: 3", "ada: 4"]);
        assert_eq!(invented.invented, 1);
        let noisy = verdict(&["ada: 1", "ada: 2", "SERVER: ada Left!", "ada: 3"]);
        assert_eq!(noisy.noise, 1);
    }

    #[test]
    fn an_order_that_differs_between_two_screens_is_wrong_even_if_each_author_is_in_order() {
        let mut score = Score::new(2);
        score.typed(0, "ada: 1".to_owned(), Timestamp::ZERO);
        score.typed(1, "bob: 1".to_owned(), Timestamp::ZERO);
        show(&mut score, 0, &["ada: 1", "bob: 1"]);
        show(&mut score, 1, &["bob: 1", "ada: 1"]);
        assert_eq!(score.verdict().out_of_order, 1);
    }
}
