//! How a host says what may be used: budgets and sizes (BUD-2, MEM-1).

use std::time::Duration;

use crate::broker::{Allowance, Budgets, MEMORY_MIN};
use crate::chat::Budget;

/// One budget as the host sets it: `lines=100/s:1000`, `history=none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BudgetSetting {
    budget: Budget,
    allowance: Option<Allowance>,
}

/// What the host grants: the defaults, and what it sets itself.
pub(super) fn budgets(settings: &[BudgetSetting]) -> Budgets {
    let mut budgets = Budgets::default();
    for BudgetSetting { budget, allowance } in settings {
        budgets.set(*budget, *allowance);
    }
    budgets
}

/// `WHAT=AMOUNT/TIME[:BURST]` or `WHAT=none`.
pub(super) fn budget(text: &str) -> Result<BudgetSetting, String> {
    let (what, how_much) = text
        .split_once('=')
        .ok_or("must be WHAT=AMOUNT/TIME:BURST, as lines=100/s:1000")?;
    let mut budgets = Budgets::SETTABLE.into_iter();
    let budget = budgets
        .find(|budget| budget.label() == what)
        .ok_or("there are registrations, changes, lines, bytes and history")?;
    let allowance = match how_much {
        "none" => None,
        how_much => Some(allowance(how_much)?),
    };
    Ok(BudgetSetting { budget, allowance })
}

fn allowance(text: &str) -> Result<Allowance, String> {
    let (rate, burst) = match text.split_once(':') {
        Some((rate, burst)) => (rate, Some(size(burst)?)),
        None => (text, None),
    };
    let (amount, time) = rate
        .split_once('/')
        .ok_or("must say in how much time: /s, /m, /h or /d")?;
    let amount = size(amount)?;
    let seconds = match time {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return Err("the time is s, m, h or d".to_owned()),
    };
    Ok(Allowance {
        amount,
        per: Duration::from_secs(seconds),
        burst: burst.unwrap_or(amount),
    })
}

/// A number, at least 1; with `KiB`, `MiB` or `GiB` so many times that.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("", 0)];
    let split = |(unit, shift)| Some((text.strip_suffix(unit)?, shift));
    let found: Option<(&str, u32)> = units.into_iter().find_map(split);
    let number = found.and_then(|(digits, shift)| {
        let number: u64 = digits.parse().ok()?;
        number.checked_mul(1 << shift)
    });
    let number = number.filter(|number| *number > 0);
    number.ok_or_else(|| format!("{text:?} is no number from 1 on, or one with KiB, MiB or GiB"))
}

/// A broker's memory (MEM-1).
pub(super) fn memory(text: &str) -> Result<u64, String> {
    match size(text)? {
        size @ MEMORY_MIN.. => Ok(size),
        _ => Err(format!("a broker needs {} MiB at least", MEMORY_MIN >> 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// MEM-1.
    #[test]
    fn memory_is_a_size() {
        assert_eq!(memory("1GiB"), Ok(crate::broker::MEMORY_MAX));
        assert_eq!(memory("16MiB"), Ok(16 << 20));
        for wrong in ["15MiB", "0", "", "1TB", "GiB"] {
            assert!(memory(wrong).is_err(), "{wrong}");
        }
    }

    /// BUD-2.
    #[test]
    fn budgets_are_set_by_what_they_are_called() {
        let set = |text: &str| {
            let setting = budget(text).unwrap();
            budgets(&[setting]).allowance(setting.budget, true)
        };
        let hour = Duration::from_secs(3_600);
        let registrations = Allowance {
            amount: 10,
            per: hour,
            burst: 10,
        };
        assert_eq!(set("registrations=10/h"), Some(registrations));
        let bytes = Allowance::per_second(2 << 20, 1 << 30);
        assert_eq!(set("bytes=2MiB/s:1GiB"), Some(bytes));
        assert_eq!(set("history=none"), None);
        for wrong in [
            "lines",
            "lines=",
            "lines=5",
            "lines=5/y",
            "lines=0/s",
            "lines=5/s:",
            "lines=5/s:0",
            "lines=-5/s",
            "memory=5/s",
            "lines=99999999999GiB/s",
        ] {
            assert!(budget(wrong).is_err(), "{wrong}");
        }
    }
}
