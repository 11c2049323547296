//! Plans that once broke a promise, each in a file named after what happens in it. A plan is kept
//! rather than its seed: what a seed draws changes with the generator.

use sim::failure::{headline, read};
use sim::run::run;

fn keeps_every_promise(name: &str) {
    let file = format!("sim/plans/{name}.json");
    let plan = read(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    if let Some(violation) = run(&plan, None).violation {
        println!("SIM_PLAN={file} SIM_TRACE=1 cargo test -p sim --test replay -- --nocapture");
        panic!("{}", headline(plan.seed, &violation));
    }
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
