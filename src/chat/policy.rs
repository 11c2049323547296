//! What a room's members may decide about it (SPEC.md section 9.2, RUM-16).

/// Who may read what was said before they came (RUM-16).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum HistoryPolicy {
    /// Every member may read everything.
    #[default]
    All,
    /// A member may read from the line on that made it one.
    SinceJoin,
}

impl HistoryPolicy {
    /// The body of the line that says so.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::All => "history=all",
            Self::SinceJoin => "history=since-join",
        }
    }

    /// The policy that a line of kind policy says, if this version knows it.
    #[must_use]
    pub fn parse(body: &[u8]) -> Option<Self> {
        [Self::All, Self::SinceJoin]
            .into_iter()
            .find(|policy| policy.as_str().as_bytes() == body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RUM-16.
    #[test]
    fn a_policy_is_read_back_from_its_line_and_nothing_else_is_one() {
        for policy in [HistoryPolicy::All, HistoryPolicy::SinceJoin] {
            assert_eq!(
                HistoryPolicy::parse(policy.as_str().as_bytes()),
                Some(policy)
            );
        }
        for other in ["", "history=", "history=ALL", "history=all ", "since-join"] {
            assert_eq!(HistoryPolicy::parse(other.as_bytes()), None);
        }
    }
}
