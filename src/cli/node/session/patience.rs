//! How often a reader is told that the broker puts something off.

use std::time::Duration;

use crate::client::PutOff;
use crate::time::Timestamp;

/// Who has been told is not told again of the same for so long (CLI-27): what is put off comes in
/// small portions.
const SAID_EVERY: Duration = Duration::from_secs(10);

/// When what was said last.
#[derive(Debug, Default)]
pub(in crate::cli::node) struct Patience(Vec<(PutOff, Timestamp)>);

impl Patience {
    /// Whether `what` is to be said now.
    pub(in crate::cli::node) fn is_news(&mut self, what: PutOff, now: Timestamp) -> bool {
        self.0
            .retain(|(_, at)| now.saturating_since(*at) < SAID_EVERY);
        let is_news = self.0.iter().all(|(said, _)| *said != what);
        if is_news {
            self.0.push((what, now));
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CLI-27.
    #[test]
    fn one_is_told_every_ten_seconds() {
        let mut patience = Patience::default();
        let mut told = Vec::new();
        for second in 0..=25 {
            let now = Timestamp::from_millis(1_000 * second);
            if patience.is_news(PutOff::Lines, now) {
                told.push(second);
            }
        }
        assert_eq!(told, [0, 10, 20]);
        assert!(patience.is_news(PutOff::Join, Timestamp::from_millis(25_000)));
    }
}
