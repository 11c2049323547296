//! Deadlines are true, and runs repeat.

use proptest::prelude::*;

use super::*;

/// What both sides sent, byte for byte and to the nanosecond, in ten seconds of talk over a bad
/// network. With `nagging`, both links are also told the time, and asked for output, every so often.
fn run(seed: u64, bulk: usize, nagging: Option<Duration>) -> Vec<(Timestamp, Vec<u8>)> {
    // node === 15 % loss, jitter === broker
    let network = Network {
        jitter: MS * 20,
        loss: 15,
        duplicate: 3,
        ..FINE
    };
    let mut pair = Pair::warmed_up(network, seed);
    let end = pair.now + SECOND * 10;
    let mut next_message = pair.now;
    let mut next_nag = nagging.map(|every| pair.now + every);
    while pair.now < end {
        let at = next_nag.map_or(next_message, |nag| nag.min(next_message));
        pair.run_for(at.saturating_since(pair.now));
        if at == next_message {
            let _ = pair.try_send(Side::Node, 1, &vec![1; bulk]);
            let _ = pair.try_send(Side::Broker, 1, b"answer");
            next_message += MS * 731;
        } else {
            for side in [Side::Node, Side::Broker] {
                pair.end(side).link.handle_timeout(at);
                pair.drain(side);
            }
            next_nag = nagging.map(|every| at + every);
        }
    }
    let all = |side: &End| {
        let times = side.sent.iter().map(|(at, _)| *at);
        let all = times.zip(side.raw.iter().cloned());
        all.filter(|(at, _)| *at < end).collect::<Vec<_>>()
    };
    [all(&pair.node), all(&pair.broker)].concat()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whoever wakes a link at its deadlines only misses nothing: a link that is woken all the time
    /// does the same at the same moments.
    #[test]
    fn the_deadline_is_always_the_earliest_moment_at_which_anything_happens(
        seed in any::<u64>(),
        bulk in 0_usize..40_000,
        every in 1_u32..20,
    ) {
        let nagged = run(seed, bulk, Some(MS * every + Duration::from_nanos(17)));
        prop_assert!(run(seed, bulk, None) == nagged);
    }

    /// The same seed makes the same run.
    #[test]
    fn a_run_repeats_from_its_seed(seed in any::<u64>(), bulk in 0_usize..40_000) {
        prop_assert!(run(seed, bulk, None) == run(seed, bulk, None));
    }
}
