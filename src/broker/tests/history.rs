//! Earlier lines, asked for.

use super::*;
use crate::chat::HistoryPolicy;
use crate::client::Asker;
use crate::client::JoinOptions;

/// A lobby in which ada has said `1` to `count`, and bob, who has come later.
fn with_history(count: usize) -> Pump {
    let mut pump = Pump::with(&["ada"]);
    for n in 1..=count {
        pump.say(0, &n.to_string());
    }
    pump.run_ms(20_000);
    let bob = pump.add("bob");
    pump.nodes[bob].client.join(lobby().into(), pump.now);
    pump.run_ms(500);
    pump
}

/// The numbers of the lines that `node` was told, and how each page ended.
fn pages(pump: &Pump, node: usize) -> (Vec<u64>, Vec<(u64, bool)>) {
    let (mut seqs, mut ends) = (Vec::new(), Vec::new());
    for event in &pump.nodes[node].events {
        match event {
            ClientEvent::Past { line, .. } => seqs.push(line.seq),
            ClientEvent::HistoryEnd { count, earlier, .. } => ends.push((*count, *earlier)),
            _ => {}
        }
    }
    (seqs, ends)
}

fn ask(pump: &mut Pump, node: usize, before: u64, count: u64) {
    let client = &mut pump.nodes[node].client;
    assert!(client.ask_history(&lobby(), before, count, Asker::Node, pump.now));
}

/// HST-2: a page ends where what one was sent begins; the next one before that.
#[test]
fn one_reads_back_page_by_page_to_the_beginning() {
    let mut pump = with_history(99);
    ask(&mut pump, 1, 0, 60);
    pump.run_ms(2_000);
    assert_eq!(pages(&pump, 1), ((41..=100).collect(), vec![(60, true)]));
    ask(&mut pump, 1, 41, 60);
    pump.run_ms(2_000);
    let (seqs, ends) = pages(&pump, 1);
    assert_eq!(seqs[60..], (1..=40).collect::<Vec<u64>>());
    assert_eq!(ends[1..], [(40, false)]);
    let first = |event: &ClientEvent| match event {
        ClientEvent::Past { line, .. } if line.seq == 2 => Some(line.clone()),
        _ => None,
    };
    let line = pump.nodes[1].events.iter().find_map(first);
    assert_eq!(line.as_ref(), pump.store.lines(&lobby()).nth(1));
}

/// HST-2, HST-1: a page of more lines than a page may have, or than are read at a time, has no hole.
#[test]
fn a_page_cap_leaves_no_hole() {
    let mut pump = with_history(1_300);
    ask(&mut pump, 1, 0, 5_000);
    pump.run_ms(20_000);
    let (seqs, ends) = pages(&pump, 1);
    assert_eq!(seqs, (302..=1_301).collect::<Vec<u64>>());
    assert_eq!(ends, [(PAGE_LINES_MAX, true)]);
    ask(&mut pump, 1, 302, 5_000);
    pump.run_ms(20_000);
    let (seqs, ends) = pages(&pump, 1);
    assert_eq!(seqs[1_000..], (1..=301).collect::<Vec<u64>>());
    assert_eq!(ends[1], (301, false));
}

/// HST-1, RUM-8: lines that come while a page is read change neither the page nor the place from
/// which the node resumes.
#[test]
fn a_live_line_does_not_poison_the_cursor() {
    let mut pump = with_history(300);
    ask(&mut pump, 1, 0, 300);
    for turn in 0..40 {
        pump.say(0, &format!("live {turn}"));
        pump.run_ms(3);
    }
    pump.nodes[1].connected = false;
    pump.run_ms(70_000);
    pump.say(0, "meanwhile");
    pump.nodes[1].connected = true;
    pump.run_ms(90_000);
    let (seqs, ends) = pages(&pump, 1);
    assert_eq!(seqs, (2..=301).collect::<Vec<u64>>());
    assert_eq!(ends, [(300, true)]);
    let heard = pump.heard(1);
    assert_eq!(heard.len(), 41);
    assert_eq!(heard[0], "ada: live 0");
    assert_eq!(heard[40], "ada: meanwhile");
}

/// RUM-9, HST-2, DLV-1: a line stored while somebody comes in is among what follows, or among what
/// was before, and never in both or in neither.
#[test]
fn a_line_between_backfill_and_subscribe_is_told_once() {
    for delay in 0..60 {
        let mut pump = Pump::with(&["ada"]);
        for n in 0..5 {
            pump.say(0, &n.to_string());
        }
        pump.run_ms(300);
        let bob = pump.add("bob");
        let options = JoinOptions {
            history: 2,
            ..lobby().into()
        };
        pump.nodes[bob].client.join(options, pump.now);
        pump.run_ms(delay * 3);
        pump.say(0, "just now");
        pump.run_ms(1_000);
        ask(&mut pump, bob, 0, 100);
        pump.run_ms(1_000);
        let (mut seqs, _) = pages(&pump, bob);
        let lines = pump.nodes[bob].events.iter();
        seqs.extend(lines.filter_map(|event| match event {
            ClientEvent::Line { line, .. } => Some(line.seq),
            _ => None,
        }));
        assert_eq!(seqs, (1..=8).collect::<Vec<u64>>(), "after {delay}");
    }
}

/// RUM-16: what the policy withholds is withheld from whoever asks.
#[test]
fn a_newcomer_is_told_nothing_that_was_said_before() {
    let mut pump = Pump::with(&["ada"]);
    pump.say(0, "secret");
    let policy = HistoryPolicy::SinceJoin;
    let client = &mut pump.nodes[0].client;
    client.set_policy(&lobby(), policy, 1, pump.now).unwrap();
    pump.run_ms(300);
    let bob = pump.add("bob");
    let options = JoinOptions {
        history: 100,
        ..lobby().into()
    };
    pump.nodes[bob].client.join(options, pump.now);
    pump.run_ms(500);
    let cleo = pump.add("cleo");
    let options = JoinOptions {
        from: Some(1),
        ..lobby().into()
    };
    pump.nodes[cleo].client.join(options, pump.now);
    pump.run_ms(500);
    pump.say(0, "hello");
    pump.run_ms(500);
    for node in [bob, cleo] {
        ask(&mut pump, node, 0, 100);
        pump.run_ms(500);
        assert_eq!(pages(&pump, node), (vec![], vec![(0, false)]));
        assert_eq!(pump.heard(node), ["ada: hello"]);
    }
    let client = &mut pump.nodes[bob].client;
    let handle = client.set_policy(&lobby(), HistoryPolicy::All, 1, pump.now);
    pump.run_ms(500);
    let refused = |event: &ClientEvent| {
        matches!(event, ClientEvent::NotStored { handle: h, code: Refusal::NotAdmitted, .. }
            if Ok(*h) == handle)
    };
    assert!(pump.nodes[bob].events.iter().any(refused));
}

/// HST-3, BRK-5: an outage, and a store that fails, cost time and no line.
#[test]
fn a_page_survives_an_outage_and_a_failing_store() {
    let mut pump = with_history(600);
    ask(&mut pump, 1, 0, 600);
    pump.run_ms(LATENCY_MS * 3);
    pump.store_stalled = true;
    pump.run_ms(500);
    pump.fail_stalled();
    pump.store_stalled = false;
    pump.run_ms(600);
    pump.crash_broker();
    pump.run_ms(60_000);
    let (seqs, ends) = pages(&pump, 1);
    assert_eq!(seqs, (2..=601).collect::<Vec<u64>>());
    assert_eq!(ends, [(600, true)]);
}

/// HST-4: what the policy comes to be while a page is read does not cut it in two. Its reader took a page
/// that ended early for a lie, and hung up.
#[test]
fn a_page_that_has_begun_is_told_to_its_end() {
    let mut pump = with_history(600);
    ask(&mut pump, 1, 0, 600);
    pump.store_stalled = true;
    pump.run_ms(LATENCY_MS * 2);
    let client = &mut pump.nodes[0].client;
    let policy = HistoryPolicy::SinceJoin;
    client.set_policy(&lobby(), policy, 1, pump.now).unwrap();
    pump.run_ms(LATENCY_MS * 2);
    pump.resume_store();
    pump.run_ms(5_000);
    assert_eq!(pump.nodes[1].end(), None);
    let (seqs, ends) = pages(&pump, 1);
    assert_eq!(seqs, (2..=601).collect::<Vec<u64>>());
    assert_eq!(ends, [(600, true)]);
    ask(&mut pump, 1, 0, 600);
    pump.run_ms(5_000);
    let (_, ends) = pages(&pump, 1);
    assert_eq!(
        ends.last(),
        Some(&(0, false)),
        "the next one is another matter"
    );
}

/// HST-2, LIF-4.
#[test]
fn who_asks_for_too_many_pages_at_once_loses_its_link() {
    let mut pump = with_history(200);
    let mut raw = pump.raw_link();
    pump.enter_raw(&mut raw, "cleo");
    pump.store_stalled = true;
    for _ in 0..=PAGES_WAITING_MAX {
        let history = RoomFromNode::History {
            before: 0,
            count: 100,
        };
        raw.link.send(1, history.encode(), pump.now).unwrap();
    }
    pump.run_raw(&mut raw, 100);
    assert!(raw.closed_with(CloseCode::Protocol));
}
