//! Floods of handshakes, and who gets through them.

use super::*;
use crate::secure::{Initiator, RESET_LEN_MAX, put_mac1};
use crate::wire::{Handshake, Retry};

/// Somebody somewhere; each in a network of its own.
fn somewhere(number: usize) -> Path {
    let [.., a, b] = number.to_be_bytes();
    Path::new(([10, a, b, 9], 9).into())
}

fn seed(number: usize) -> Seed {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&number.to_le_bytes());
    seed
}

fn retry_in(answer: Option<Bytes>) -> Retry {
    match answer.map(|answer| Handshake::decode(&answer)) {
        Some(Ok(Handshake::Retry(retry))) => retry,
        other => panic!("{other:?}"),
    }
}

fn is_accept(answer: Option<&Bytes>) -> bool {
    answer.is_some_and(|answer| matches!(Handshake::decode(answer), Ok(Handshake::Accept(_))))
}

/// A pump whose broker has more to do than it likes.
fn loaded() -> Pump {
    let mut pump = Pump::new();
    for number in 0..HANDSHAKES_PER_TURN {
        let hello = pump.hello(seed(number), true);
        assert!(is_accept(pump.answer(somewhere(number), &hello).as_ref()));
    }
    pump
}

/// ADR-3, SEC-7: too many at once, and nothing is kept of those who have proved nothing.
#[test]
fn a_loaded_broker_asks_for_a_proof_and_keeps_nothing() {
    let mut pump = loaded();
    let before = pump.broker.tables();
    for number in 100..5_000 {
        let hello = pump.hello(seed(number), number % 2 == 0);
        let answer = pump.answer(somewhere(number), &hello);
        assert_eq!(retry_in(answer).cid.as_bytes(), &seed(number)[..4]);
    }
    assert_eq!(pump.broker.tables(), before);
    assert_eq!(pump.broker.drops().count(Dropped::CookieMissing), 4_900);
    // The next turn is not better, and some time later it is over.
    pump.now += LOAD_LASTS - Duration::from_millis(1);
    let hello = pump.hello(seed(1), true);
    retry_in(pump.answer(somewhere(1), &hello));
    pump.now += Duration::from_millis(2);
    assert!(is_accept(pump.answer(somewhere(1), &hello).as_ref()));
}

/// ADR-3: first contacts are the first to be asked.
#[test]
fn half_as_much_load_is_enough_for_first_contacts() {
    let mut pump = Pump::new();
    for number in 0..HANDSHAKES_PER_TURN / 2 {
        let hello = pump.hello(seed(number), false);
        assert!(is_accept(pump.answer(somewhere(number), &hello).as_ref()));
    }
    let first = pump.hello(seed(50), false);
    retry_in(pump.answer(somewhere(50), &first));
    let known = pump.hello(seed(51), true);
    assert!(is_accept(pump.answer(somewhere(51), &known).as_ref()));
}

/// ADR-3: handshakes that nobody finishes, or that take much of the time.
#[test]
fn half_open_handshakes_and_their_time_are_load_too() {
    let mut pump = Pump::new();
    for number in 0..HALF_OPEN_CALM {
        pump.now += Duration::from_millis(10);
        let hello = pump.hello(seed(number), true);
        assert!(is_accept(pump.answer(somewhere(number), &hello).as_ref()));
    }
    pump.now += Duration::from_millis(10);
    let hello = pump.hello(seed(900), true);
    retry_in(pump.answer(somewhere(900), &hello));

    let mut pump = Pump::new();
    let taken = HANDSHAKE_BURST / 5;
    for number in 0..5 {
        let hello = pump.hello(seed(number), true);
        assert!(is_accept(pump.answer(somewhere(number), &hello).as_ref()));
        pump.broker.handle_time_taken(taken, pump.now);
    }
    // What was not a handshake is not told of twice.
    pump.broker.handle_time_taken(HANDSHAKE_BURST, pump.now);
    let hello = pump.hello(seed(900), true);
    retry_in(pump.answer(somewhere(900), &hello));
    // A tenth of the time is not too much.
    pump.now += LOAD_LASTS;
    for number in 0..500 {
        pump.now += taken * HANDSHAKE_SHARE_CALM;
        pump.broker.handle_timeout(pump.now);
        let hello = pump.hello(seed(1_000 + number), true);
        assert!(is_accept(pump.answer(somewhere(number), &hello).as_ref()));
        pump.broker.handle_time_taken(taken, pump.now);
    }
}

/// ADR-2, ADR-3: a cookie is worth something where it was sent to, for a while.
#[test]
fn a_cookie_opens_the_door_for_the_one_who_was_asked() {
    for known in [false, true] {
        let mut pump = loaded();
        let (here, there) = (somewhere(70), somewhere(71));
        let initiator = pump.initiator(seed(70), known);
        let retry = retry_in(pump.answer(here, initiator.hello()));
        let hello = initiator.answer_retry(initiator.hello(), &retry).unwrap();
        retry_in(pump.answer(there, &hello));
        assert_eq!(pump.broker.drops().count(Dropped::CookieWrong), 1);
        let accept = pump.answer(here, &hello);
        assert!(is_accept(accept.as_ref()));
        // SEC-6: and is repeated as it was.
        assert_eq!(pump.answer(here, &hello), accept);
    }
}

/// ADR-2.
#[test]
fn a_cookie_is_good_for_one_to_two_lifetimes() {
    for (age, is_good) in [
        (COOKIE_LIFETIME, true),
        (COOKIE_LIFETIME * 2, false),
        (COOKIE_LIFETIME * 9, false),
    ] {
        let mut pump = loaded();
        let initiator = pump.initiator(seed(70), true);
        let retry = retry_in(pump.answer(somewhere(70), initiator.hello()));
        let hello = initiator.answer_retry(initiator.hello(), &retry).unwrap();
        pump.now += age;
        for number in 0..HANDSHAKES_PER_TURN {
            let hello = pump.hello(seed(100 + number), true);
            assert!(pump.answer(somewhere(number), &hello).is_some());
        }
        let answer = pump.answer(somewhere(70), &hello);
        assert_eq!(is_accept(answer.as_ref()), is_good, "{age:?}");
    }
}

/// ADR-1, SEC-4: who does not know the key is not even asked.
#[test]
fn nobody_gets_a_retry_without_mac1() {
    let mut pump = loaded();
    let mut hello = pump.hello(seed(70), true).to_vec();
    let at = hello.len() - 5;
    hello[at] ^= 1;
    let hello = wire::roundtrip::with_right_crc(&hello);
    assert_eq!(pump.answer(somewhere(70), &hello), None);
    assert_eq!(pump.broker.drops().count(Dropped::Mac1), 1);
}

/// ADR-5: from one address so many come in, and others are not kept out; who has proved nothing is
/// asked to instead of being sent away.
#[test]
fn an_address_begins_so_many_handshakes_and_no_more() {
    let mut pump = loaded();
    let here = Path::new(([10, 77, 7, 7], 9).into());
    for number in 0..ADDRESS_BURST as usize + 50 {
        let hello = pump.proved_hello(here, seed(1_000 + number), true);
        pump.answer(here, &hello);
    }
    assert_eq!(pump.broker.drops().count(Dropped::Rate), 50);
    let there = Path::new(([10, 77, 7, 8], 9).into());
    let hello = pump.proved_hello(there, seed(10), true);
    assert!(is_accept(pump.answer(there, &hello).as_ref()));

    pump.now += HALF_OPEN_LIFETIME;
    pump.broker.handle_timeout(pump.now);
    for number in 0..ADDRESS_BURST as usize {
        let hello = pump.proved_hello(here, seed(2_000 + number), true);
        pump.answer(here, &hello);
    }
    pump.now += LOAD_LASTS;
    let spent = Path::new(([10, 77, 7, 7], 10).into());
    pump.broker.half_open = Default::default();
    for _ in 0..ADDRESS_RATE * LOAD_LASTS.as_secs() as u32 {
        pump.broker.gate.on_wrong_finish(spent.remote, pump.now);
    }
    let hello = pump.hello(seed(11), true);
    retry_in(pump.answer(spent, &hello));
}

/// ADR-6: when handshakes have taken half of the time, the others have their turn.
#[test]
fn handshakes_take_no_more_than_half_of_the_time() {
    let mut pump = loaded();
    let mut begun = 0;
    for number in 0..2_000 {
        pump.now += Duration::from_millis(5);
        let hello = pump.proved_hello(somewhere(number), seed(number), true);
        if is_accept(pump.answer(somewhere(number), &hello).as_ref()) {
            pump.broker
                .handle_time_taken(Duration::from_millis(5), pump.now);
            begun += 1;
        }
    }
    // Ten seconds, of which five, and a tenth more at the beginning.
    assert!((1_000..1_100).contains(&begun), "{begun}");
    assert!(pump.broker.drops().count(Dropped::Busy) > 800);
}

/// ADR-7, SEC-11: to guess a FINISH costs as much as a handshake.
#[test]
fn wrong_finishes_are_bounded_too() {
    let mut pump = Pump::new();
    let here = somewhere(1);
    let hello = pump.hello(seed(1), false);
    assert!(is_accept(pump.answer(here, &hello).as_ref()));
    let cid = pump.broker.half_open_cids()[0];
    let mut finish = Vec::new();
    Handshake::Finish(wire::Finish {
        version: wire::VERSION,
        cid,
        noise: Bytes::from_static(&[1; 160]),
    })
    .encode(&mut finish);
    for _ in 0..1_000 {
        assert_eq!(pump.answer(here, &finish), None);
    }
    let tried = u64::from(ADDRESS_BURST / FIRST_CONTACT_COST) - 1;
    assert_eq!(pump.broker.drops().count(Dropped::Handshake), tried);
    assert_eq!(pump.broker.drops().count(Dropped::Rate), 1_000 - tried);
}

/// ADR-8, HSD-7: a broker that takes no first contacts is not there for who does not know it.
#[test]
fn where_first_contacts_are_closed_only_those_who_know_the_key_get_an_answer() {
    let mut pump = Pump::new();
    let path = somewhere(1);
    let first = pump.hello(seed(1), false);
    let known = pump.hello(seed(2), true);
    // Of another version: mac1 is where it always is.
    let other_version = |initiator: &Initiator, key| {
        let mut hello = initiator.hello().to_vec();
        hello[1] = 2;
        put_mac1(&key, &mut hello);
        wire::roundtrip::with_right_crc(&hello)
    };
    let initiator = pump.initiator(seed(3), true);
    let key = pump.broker.public_key();
    let right = other_version(&initiator, key);
    let wrong = other_version(&initiator, PublicKey([1; 32]));
    assert!(pump.answer(path, &wrong).is_some());

    pump.broker.config.first_contacts = FirstContacts::Closed;
    assert_eq!(pump.answer(path, &first), None);
    assert_eq!(pump.answer(path, &wrong), None);
    assert_eq!(pump.broker.drops().count(Dropped::FirstContact), 2);
    assert!(is_accept(pump.answer(path, &known).as_ref()));
    let answer = pump.answer(path, &right).unwrap();
    assert!(matches!(
        Handshake::decode(&answer),
        Ok(Handshake::Version(_))
    ));
}

/// HSD-8, RST-2: whatever a broker says to somebody unknown, it is not longer than what was said to
/// it.
#[test]
fn no_reply_is_longer_than_its_cause() {
    let mut kinds = BTreeMap::new();
    let mut note = |cause: &Bytes, answer: Option<Bytes>| {
        let answer = answer.unwrap();
        assert!(answer.len() <= cause.len(), "{answer:?}");
        let kind = answer[0].min(0x80);
        let longest = kinds.entry(kind).or_insert(0);
        *longest = answer.len().max(*longest);
    };
    let mut pump = Pump::new();
    let mut all = Vec::new();
    for known in [false, true] {
        let hello = pump.hello(seed(usize::from(known)), known);
        assert_eq!(hello.len(), wire::HELLO_MIN);
        let mut other_version = hello.to_vec();
        other_version[1] = 9;
        all.push(hello);
        all.push(wire::roundtrip::with_right_crc(&other_version));
    }
    let data = Bytes::from_static(&[0x80; RESET_LEN_MAX]);
    all.push(data);
    for cause in &all {
        note(cause, pump.answer(somewhere(1), cause));
        // SEC-6
        note(cause, pump.answer(somewhere(1), cause));
    }
    let mut pump = loaded();
    for known in [false, true] {
        let hello = pump.hello(seed(50), known);
        note(&hello, pump.answer(somewhere(50), &hello));
    }
    let lengths: Vec<(u8, usize)> = kinds.into_iter().collect();
    let [(2, accept), (4, retry), (5, version), (0x80, reset)] = lengths[..] else {
        panic!("{lengths:?}");
    };
    assert!(accept < 160 && retry < 48 && version < 16 && reset < RESET_LEN_MAX);
}

/// ADR-3, DLV-1, BRK-3: a thousand times as many forged HELLOs as a broker bears, and people neither
/// notice it nor are kept out.
#[test]
fn people_talk_and_come_in_through_a_flood_of_forged_hellos() {
    let mut pump = Pump::with(&["ada", "bob"]);
    let forged: Vec<Bytes> = (0..200)
        .map(|number| pump.hello(seed(number), number % 2 == 0))
        .collect();
    let mut said = Vec::new();
    let mut late = None;
    for step in 0..200 {
        for (number, hello) in forged.iter().enumerate() {
            pump.broker.handle_datagram(
                somewhere(step * forged.len() + number),
                BytesMut::from(&hello[..]),
                pump.now,
            );
        }
        if step % 10 == 0 {
            pump.say(0, &format!("{step}"));
            said.push(format!("ada: {step}"));
        }
        if step == 50 {
            let cleo = pump.add("cleo");
            pump.nodes[cleo].client.join(lobby().into(), pump.now);
            late = Some(cleo);
        }
        pump.run_ms(10);
    }
    pump.run_ms(200);
    assert_eq!(pump.heard(1), said);
    let late = late.unwrap();
    assert!(pump.nodes[late].client.is_online());
    let asked = pump.broker.drops().count(Dropped::CookieMissing);
    assert!(asked > 39_900, "{asked}");
    let (links, half_open) = pump.broker.link_counts();
    assert!(
        links == 3 && half_open <= HANDSHAKES_PER_TURN,
        "{half_open}"
    );
    assert_eq!(pump.broker.drops().count(Dropped::MadeRoom), 0);
}

/// LIM-16: answers to those who have no link wait in a row that ends.
#[test]
fn handshake_replies_that_wait_are_bounded() {
    let mut pump = loaded();
    let hello = pump.hello(seed(1), true);
    for number in 100..100 + REPLIES_WAITING_MAX + 10 {
        let datagram = BytesMut::from(&hello[..]);
        pump.broker
            .handle_datagram(somewhere(number), datagram, pump.now);
    }
    assert_eq!(pump.broker.replies.len(), REPLIES_WAITING_MAX);
    assert_eq!(pump.broker.drops().count(Dropped::Limit), 10);
}
