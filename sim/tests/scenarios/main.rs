//! What the protocol promises, told as stories: each a few lines of what happens, on the real
//! machines in a simulated world. All checkers watch every story.

mod nodes;
mod stores;

use std::time::Duration;

use sim::fate::Direction;
use sim::history::Observation;
use sim::plan::{Absence, Fault, Plan, Way};
use sim::world::{World, room_name};
use tertulia::broker::{BrokerEvent, RECENT_LINES_MAX};
use tertulia::chat::NoticeEvent;
use tertulia::client::{EndReason, PUBLISH_WINDOW};
use tertulia::time::Timestamp;

/// When everybody has come who comes at the beginning.
const ALL_THERE: Timestamp = Timestamp::from_millis(3_000);

/// A world in which everybody is in `room0`, 50 ms from the broker.
fn quiet(clients: usize) -> World {
    let mut world = World::new(Plan::quiet(1, clients));
    run(&mut world, 3);
    world
}

fn run(world: &mut World, seconds: u64) {
    world
        .run_for(Duration::from_secs(seconds))
        .expect("no rule is broken");
}

/// Everything outstanding must be settled now, on top of what the checkers ask.
fn finish(world: &mut World) {
    assert!(world.is_settled());
    world.finish().expect("no rule is broken");
}

fn say(world: &mut World, client: usize, text: &str) {
    world
        .say(client, &room_name(0), text.as_bytes())
        .expect("the node takes it");
}

const fn cut(client: usize) -> Fault {
    Fault::Cut {
        client,
        way: Way::Both,
        for_ms: 0,
    }
}

/// The messages that a client has been shown, as text.
fn shown(world: &World, client: usize) -> Vec<String> {
    let texts = world
        .record
        .observations
        .iter()
        .filter_map(|(_, o)| match o {
            Observation::Shown { life, line, .. } if life.client == client && line.n > 0 => {
                Some(line.text().into_owned())
            }
            _ => None,
        });
    texts.collect()
}

/// The notices about `name` that a client has been shown since all had come.
fn notices(world: &World, client: usize, name: &str) -> Vec<(Timestamp, NoticeEvent)> {
    let notices = world
        .record
        .observations
        .iter()
        .filter_map(|(at, o)| match o {
            Observation::Noticed(life, _, event, who)
                if life.client == client && who == name && *at > ALL_THERE =>
            {
                Some((*at, *event))
            }
            _ => None,
        });
    notices.collect()
}

/// The messages of the broker's present log.
fn stored(world: &World) -> Vec<String> {
    let room = room_name(0);
    let lines = world.store.memory().lines(&room);
    lines
        .filter(|line| line.n > 0)
        .map(|line| line.text().into_owned())
        .collect()
}

/// The pattern bytes of the HELLOs that a client has sent, without repetitions (HSD-2).
fn patterns(world: &World, client: usize) -> Vec<u8> {
    let captured = world.net.captured.as_deref().unwrap_or_default();
    let sent = captured
        .iter()
        .filter(|c| c.client == client && c.direction == Direction::Up);
    let mut patterns: Vec<u8> = sent
        .filter(|c| c.datagram.bytes.first() == Some(&1))
        .map(|c| c.datagram.bytes[2])
        .collect();
    patterns.dedup();
    patterns
}
