//! Budgets: whoever causes too much waits, and loses nothing.

use super::*;
use crate::chat::Budget;
use crate::client::{Asker, PutOff};

/// A pump whose host grants little of one thing.
fn with_little(budget: Budget, allowance: Allowance) -> Pump {
    let mut pump = Pump::new();
    pump.broker.config.budgets.set(budget, Some(allowance));
    for name in ["ada", "bob"] {
        let node = pump.add(name);
        pump.nodes[node].client.join(lobby().into(), pump.now);
        pump.run_ms(500);
    }
    pump
}

/// What a node was told to wait for, how long, and why.
fn put_off(pump: &Pump, node: usize) -> Vec<(PutOff, Duration, Refusal)> {
    let events = pump.nodes[node].events.iter();
    let told = events.filter_map(|event| match event {
        ClientEvent::PutOff {
            what, wait, code, ..
        } => Some((*what, *wait, *code)),
        _ => None,
    });
    told.collect()
}

fn is_about(told: &[(PutOff, Duration, Refusal)], what: PutOff, of: Budget) -> bool {
    let matches = |(put_off, wait, code): &(PutOff, Duration, Refusal)| {
        *put_off == what
            && matches!(code, Refusal::OverBudget { budget, wait_ms }
                if *budget == of && *wait == Duration::from_millis(*wait_ms))
    };
    !told.is_empty() && told.iter().all(matches)
}

/// BUD-1, BUD-5, PUB-4, DLV-1, DLV-4: lines that are too many wait in the outbox, are told to, and
/// come in their order, once; another's do not wait.
#[test]
fn lines_over_the_budget_wait_and_are_all_stored_in_order() {
    let mut pump = with_little(Budget::Lines, Allowance::per_second(20, 40));
    let start = pump.now;
    for n in 0..200 {
        pump.say(0, &n.to_string());
    }
    pump.run_ms(1_000);
    pump.say(1, "not me");
    pump.run_ms(200);
    let heard = pump.heard(1);
    assert!(heard.len() <= 40 + 20 * 2, "{} at once", heard.len());
    assert!(heard.iter().any(|line| line == "bob: not me"));
    pump.run_ms(10_000);
    let of_ada: Vec<String> = pump
        .heard(1)
        .into_iter()
        .filter(|line| line.starts_with("ada"))
        .collect();
    let expected: Vec<String> = (0..200).map(|n| format!("ada: {n}")).collect();
    assert_eq!(of_ada, expected);
    assert!(pump.now.saturating_since(start) >= Duration::from_secs(8));
    let told = put_off(&pump, 0);
    assert!(is_about(&told, PutOff::Lines, Budget::Lines), "{told:?}");
    // So often, and not for each line.
    assert!(told.len() <= 80, "{}", told.len());
    assert_eq!(put_off(&pump, 1), []);
    assert!(
        pump.broker
            .counters()
            .refused()
            .any(|(label, _)| label == "lines")
    );
}

/// BUD-5: what counts is how many get it.
#[test]
fn bytes_count_for_each_who_is_present() {
    let allowance = Allowance::per_second(10_000, 100_000);
    let stored_at_once = |members: usize| {
        let mut pump = with_little(Budget::Bytes, allowance);
        for name in ["cleo", "dan", "eve", "fay", "gil", "hal"]
            .into_iter()
            .take(members - 2)
        {
            let node = pump.add(name);
            pump.nodes[node].client.join(lobby().into(), pump.now);
            pump.run_ms(500);
        }
        for _ in 0..60 {
            pump.say(0, &"x".repeat(1_000 - usize::try_from(LINE_COST).unwrap()));
        }
        pump.run_ms(500);
        let at_once = pump.heard(1).len();
        pump.run_ms(60_000);
        assert_eq!(pump.heard(1).len(), 60);
        let told = put_off(&pump, 0);
        assert!(is_about(&told, PutOff::Lines, Budget::Bytes), "{told:?}");
        at_once
    };
    let (few, many) = (stored_at_once(2), stored_at_once(8));
    assert!((50..=56).contains(&few), "{few}");
    assert!((12..=16).contains(&many), "{many}");
}

/// BUD-5: a line that costs more than there ever is goes all the same, and is paid for afterwards.
#[test]
fn a_line_larger_than_the_budget_is_not_kept_out_for_ever() {
    let mut pump = with_little(Budget::Bytes, Allowance::per_second(1_000, 1_000));
    pump.say(0, &"x".repeat(10_000));
    pump.say(0, "next");
    pump.run_ms(500);
    assert_eq!(pump.heard(1).len(), 1);
    pump.run_ms(25_000);
    assert_eq!(pump.heard(1).len(), 2);
}

/// BUD-3: newcomers from a network that brings too many wait; who is known does not.
#[test]
fn new_accounts_are_counted_by_where_they_come_from() {
    let hour = Duration::from_secs(3_600);
    let few = Allowance {
        amount: 360,
        per: hour,
        burst: 2,
    };
    let mut pump = with_little(Budget::Registrations, few);
    let cleo = pump.add("cleo");
    pump.nodes[cleo].client.join(lobby().into(), pump.now);
    pump.run_ms(5_000);
    let told = put_off(&pump, cleo);
    assert!(
        is_about(&told, PutOff::SignIn, Budget::Registrations),
        "{told:?}"
    );
    assert_eq!(pump.broker.people(), 2);
    // Who has come in before comes back.
    pump.crash_broker();
    pump.broker
        .config
        .budgets
        .set(Budget::Registrations, Some(few));
    pump.run_ms(40_000);
    assert_eq!(pump.broker.people(), 3);
    pump.say(cleo, "at last");
    pump.run_ms(500);
    assert_eq!(
        pump.heard(0).last().map(String::as_str),
        Some("cleo: at last")
    );
}

/// BUD-4: who comes and goes all the time is heard of only so often, and comes in in the end.
#[test]
fn coming_and_going_has_a_budget() {
    let mut pump = with_little(Budget::Changes, Allowance::per_second(1, 6));
    let den = RoomName::new("den").unwrap();
    for _ in 0..20 {
        pump.nodes[1].client.join(den.clone().into(), pump.now);
        pump.run_ms(300);
        pump.nodes[1].client.leave_room(&den, pump.now);
        pump.run_ms(300);
    }
    let lines = pump.store.lines(&den).count();
    assert!((6..=6 + 12 + 2).contains(&lines), "{lines}");
    let told = put_off(&pump, 1);
    assert!(is_about(&told, PutOff::Join, Budget::Changes), "{told:?}");
    pump.nodes[1].client.join(den.clone().into(), pump.now);
    pump.run_ms(10_000);
    let joined =
        |event: &&ClientEvent| matches!(event, ClientEvent::Joined { room } if *room == den);
    let before = pump.nodes[1].events.iter().filter(joined).count();
    assert!(before >= 4, "{before}");
    // Nobody else waited.
    assert_eq!(put_off(&pump, 0), []);
}

/// BUD-6, HST-1, DLV-1: what is read of the past comes as slowly as it has to, without a hole.
#[test]
fn reading_back_has_a_budget_and_leaves_no_hole() {
    let mut pump = with_little(Budget::History, Allowance::per_second(20_000, 40_000));
    for n in 0..300 {
        pump.say(0, &format!("{n} {}", "x".repeat(400)));
    }
    pump.run_ms(10_000);
    let cleo = pump.add("cleo");
    pump.nodes[cleo].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    let start = pump.now;
    assert!(
        pump.nodes[cleo]
            .client
            .ask_history(&lobby(), 0, 300, Asker::Node, pump.now)
    );
    let seqs = |pump: &Pump| -> Vec<u64> {
        let events = pump.nodes[cleo].events.iter();
        let past = events.filter_map(|event| match event {
            ClientEvent::Past { line, .. } => Some(line.seq),
            _ => None,
        });
        past.collect()
    };
    pump.run_ms(1_000);
    assert!(seqs(&pump).len() < 200);
    pump.say(0, "meanwhile");
    pump.run_ms(200);
    assert_eq!(
        pump.heard(cleo).last().map(String::as_str),
        Some("ada: meanwhile")
    );
    while seqs(&pump).len() < 300 && pump.now < start + Duration::from_secs(60) {
        pump.run_ms(500);
    }
    assert_eq!(seqs(&pump), (3..=302).collect::<Vec<u64>>());
    assert!(pump.now.saturating_since(start) >= Duration::from_secs(4));
}

/// BUD-6: who has to wait long for what it reads is told so.
#[test]
fn who_waits_long_for_the_past_is_told() {
    let mut pump = with_little(Budget::History, Allowance::per_second(1_000, 1_000));
    for n in 0..100 {
        pump.say(0, &format!("{n} {}", "x".repeat(100)));
    }
    pump.run_ms(5_000);
    let newcomer = pump.add("cleo");
    pump.nodes[newcomer].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    let client = &mut pump.nodes[newcomer].client;
    assert!(client.ask_history(&lobby(), 0, 100, Asker::Node, pump.now));
    pump.run_ms(60_000);
    let told = put_off(&pump, newcomer);
    assert!(
        is_about(&told, PutOff::History, Budget::History),
        "{told:?}"
    );
    let past = |event: &&ClientEvent| matches!(event, ClientEvent::Past { .. });
    assert_eq!(pump.nodes[newcomer].events.iter().filter(past).count(), 100);
}

/// BUD-2: what the host does not set does not hold on its own machine.
#[test]
fn who_is_on_the_brokers_own_machine_is_granted_all_unless_the_host_says_otherwise() {
    let mut pump = Pump::new();
    for (name, ip) in [("ada", [127, 0, 0, 1]), ("bob", [10, 0, 0, 1])] {
        let node = pump.add(name);
        pump.nodes[node].seen_at = Path::new((ip, 1_000 + u16::try_from(node).unwrap()).into());
        pump.nodes[node].client.join(lobby().into(), pump.now);
        pump.run_ms(500);
    }
    let payers: Vec<bool> = pump
        .broker
        .sessions
        .values()
        .map(|session| session.payer().is_local)
        .collect();
    assert_eq!(payers, [true, false]);
}

/// BUD-8: nobody makes a node wait for ever, or not at all.
#[test]
fn a_node_waits_no_longer_than_an_hour() {
    let mut pump = with_little(Budget::Bytes, Allowance::per_second(1, 1));
    pump.say(0, &"x".repeat(16_000));
    pump.say(0, "next");
    pump.run_ms(1_000);
    let told = put_off(&pump, 0);
    assert_eq!(
        told.first().map(|(_, wait, _)| *wait),
        Some(crate::client::WAIT_MAX)
    );
}
