//! Plans written down, each in a file named after what happens in it: plans that once broke a
//! promise, kept rather than their seeds because what a seed draws changes with the generator; and
//! plans that get where drawn ones do not.

use sim::failure::{headline, read};
use sim::run::{Outcome, run};
use tertulia::situation::Situation;

fn keeps_every_promise(name: &str) -> Outcome {
    let file = format!("sim/plans/{name}.json");
    let plan = read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let outcome = run(&plan, None);
    if let Some(violation) = &outcome.violation {
        println!("SIM_PLAN={file} SIM_TRACE=1 cargo test -p sim --test replay -- --nocapture");
        panic!("{}", headline(plan.seed, violation));
    }
    outcome
}

/// The plan leads to what it is there for, and to no broken promise.
fn leads_to(situation: Situation, name: &str) {
    let met = keeps_every_promise(name).met[situation as usize];
    assert!(met > 0, "{name} does not lead to {situation:?}");
}

/// PRS-3: the next link began with the notices from before the node's own Joined, because the node
/// had seen none yet.
#[test]
fn a_link_that_dies_while_history_is_read_brings_no_notices_from_before() {
    keeps_every_promise("a_link_that_dies_while_history_is_read");
}

/// PRS-1, DLV-7: the grace, counted from the older link, ended before the new one had come into
/// the room, and everybody was told of a time-out half a second after the node had been heard.
#[test]
fn nobody_times_out_while_a_new_link_signs_in() {
    keeps_every_promise("a_grace_that_ends_while_a_new_link_signs_in");
    keeps_every_promise("a_grace_that_ends_while_two_nodes_shake_hands");
}

/// SGN-4: a node was killed with its FINISH under way, and started again. What came late of the first
/// life signed in after the second one, was taken for the newer, and ended the second for good.
#[test]
fn packets_of_the_life_before_do_not_replace_the_node_that_lives() {
    keeps_every_promise("packets_of_the_life_before_come_after_a_node_has_signed_in_again");
}

/// RUM-10: a node went on in a second restored history before it was shown a line of the first, and from
/// the time of its place in that one: the checker expected it to go on from what it was shown last.
#[test]
fn a_history_of_which_nothing_was_shown_is_left_at_the_place_in_it() {
    keeps_every_promise("a_broker_is_restored_twice_while_its_clock_is_slow");
}

/// HST-1, HST-3: on the next link the line named was one that the node had got meanwhile, the page
/// began later than on the first, and the reader was shown both parts with a hole between them.
#[test]
fn a_page_that_is_cut_off_goes_on_without_a_hole() {
    keeps_every_promise("a_page_is_cut_off_that_ends_before_a_line_yet_to_come");
}

/// HST-4: between two reads of a page the room's policy withheld the rest of it, and its reader took the
/// page for one that a liar had cut off.
#[test]
fn a_page_is_told_to_its_end_whatever_the_policy_becomes() {
    keeps_every_promise("a_page_is_read_while_the_policy_becomes_stricter");
}

/// JRN-9, DLV-4: what was given up as the room was left came back with the journal, behind what was typed
/// after it. The checker did not expect that.
#[test]
fn a_restored_journal_goes_on_with_what_was_given_up_since() {
    keeps_every_promise("a_journal_is_restored_to_before_its_room_was_left");
}

/// The checker took what somebody had been let read of one history for lost with another one.
#[test]
fn who_sleeps_through_two_histories_is_shown_what_it_was_sent_of_the_first() {
    keeps_every_promise("a_new_log_is_restored_while_somebody_sleeps");
}

/// JRN-11: whether its last line was stored the node could not know. The checker asked only nodes that
/// were alive when their devices were revoked.
#[test]
fn who_is_revoked_while_dead_may_repeat_its_last_line() {
    keeps_every_promise("a_node_is_killed_and_then_its_device_is_revoked");
}

/// STA-1: the other device never had the line. The checker asked only about devices that had lost nothing.
#[test]
fn a_line_is_not_delivered_by_a_journal_that_was_lost() {
    keeps_every_promise("one_of_two_devices_loses_its_journal_while_somebody_watches");
}

/// JRN-11, PUB-10: what waited was stored as another device's, of which neither was told.
#[test]
fn who_leaves_with_what_a_revoked_device_had_sent_is_told_that_it_is_not_stored() {
    keeps_every_promise("an_account_leaves_with_what_a_revoked_device_had_sent");
}

/// PRS-1, DEV-9: the last link that an account had in a room was one that had been silent for longer than
/// the one that had ended before, and the grace was counted from that.
#[test]
fn the_grace_begins_when_any_link_of_the_account_was_last_heard() {
    keeps_every_promise(
        "a_link_is_given_up_after_a_device_of_the_account_that_was_heard_later_has_hung_up",
    );
}

/// PRS-1: a link that had signed in, and not come into the room again, was no sign of life any more once it
/// had ended.
#[test]
fn who_has_signed_in_was_there_although_its_link_has_ended() {
    keeps_every_promise("a_device_is_revoked_that_has_signed_in_and_not_come_into_its_room");
}

/// DEV-8: the links of a revoked device stayed, because whoever had asked was gone when the store had it.
#[test]
fn a_revoked_device_is_out_whoever_hears_of_it() {
    keeps_every_promise("whoever_revokes_a_device_gives_up_before_the_store_answers");
}

/// DEV-9, RUM-12, PUB-10: a device whose account had asked to leave was let in by an older request, and
/// what it said then was refused for the leave, and stored after it all the same.
#[test]
fn what_is_refused_because_the_account_has_left_is_not_stored() {
    keeps_every_promise("an_account_leaves_by_one_device_while_another_one_comes_in");
}

/// RUM-16: a broker's word that somebody came in is of the same millisecond as the policy that is refused
/// him. A checker took it for the policy.
#[test]
fn a_policy_that_is_refused_is_not_taken_for_the_line_that_lets_its_author_in() {
    leads_to(
        Situation::PolicyRefused,
        "a_policy_is_refused_that_was_set_in_the_millisecond_of_coming_in",
    );
}

/// RUM-12, JRN-12: what a full journal holds back of a history that is lost is shown when it has room,
/// though its reader has left the restored one by then. A checker took that for a line withheld.
#[test]
fn what_was_let_read_of_a_lost_history_may_be_shown_late() {
    keeps_every_promise(
        "lines_of_a_lost_history_are_journaled_after_their_reader_has_left_the_restored_one",
    );
}

/// LIM-5, BRK-2: who was cut off meanwhile gets it all the same, from the store.
#[test]
fn what_the_feed_has_let_go_of_is_read_from_the_store() {
    leads_to(
        Situation::FeedEvicted,
        "more_is_pasted_than_the_feed_keeps_while_somebody_is_cut_off",
    );
}

/// ADR-3, ADR-4: nobody who only forges addresses keeps others out.
#[test]
fn forged_hellos_cost_newcomers_a_round_trip_and_nothing_else() {
    leads_to(
        Situation::CookieSent,
        "forged_hellos_come_by_the_thousand_while_people_come_in",
    );
}

/// SEC-6: more than a thousand strangers, each where it says, come between a node's HELLO and its
/// first packet. It has to begin anew, and nobody else notices anything.
#[test]
fn strangers_cost_one_node_a_second_handshake_and_the_others_nothing() {
    leads_to(
        Situation::HalfOpenMadeRoom,
        "strangers_take_every_place_of_a_half_open_handshake",
    );
}

/// CRD-2: the broker takes as much as it says, and the rest waits its turn.
#[test]
fn what_credit_holds_back_comes_all_the_same() {
    leads_to(
        Situation::CreditBlocked,
        "somebody_pastes_into_three_rooms_at_once",
    );
}
