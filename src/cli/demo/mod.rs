//! `chat-node demo`: the proof that a sceptic can run (CLI-15).
//!
//! A play in three acts. The *stage* is set: a broker, a *relay* that is a bad
//! network, nodes that have come in through it. The nodes *type* in turn, while the relay gives
//! them new addresses and the broker is killed and started again. Then all are given time until
//! everybody has been shown everything, and leave. The *score* compares what was
//! typed with what was shown, line by line, and the curtain falls with a verdict.

mod args;
mod network;
mod relay;
mod score;
mod stage;

use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::select;
use tokio::sync::mpsc;

pub(super) use args::DemoArgs;
pub use network::{Faults, Lane};
pub(super) use stage::BROKER_COMMAND;

use super::exit::{Code, Failure};
use super::logging::escapes_are_welcome;
use super::signals::Signals;
use crate::driver::Clock;
use crate::time::Timestamp;
use relay::Relay;
use score::Score;
use stage::{Broker, Node, Shown, Stage};

/// What a node says when it leaves.
const FAREWELL: &str = "Leaving chat!";
/// Back to the start of the line, and nothing on it.
const CLEAR_LINE: &str = "\r\x1b[K";
const NAMES: [&str; args::NODES_MAX as usize] =
    ["ada", "bob", "cleo", "dan", "eve", "finn", "gus", "hal"];
/// How far datagrams overtake each other.
const REORDER_MS_MAX: u64 = 40;
/// How long a killed broker stays away.
const BROKER_AWAY: Duration = Duration::from_millis(500);
/// How long nothing may be shown before what is missing is called lost.
const PATIENCE: Duration = Duration::from_secs(30);
/// How much shown lines wait to be counted.
const SHOWN_WAITING_MAX: usize = 1_024;
/// How often the progress is told, on a terminal and elsewhere.
const PROGRESS_EVERY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Runs the demonstration.
pub(super) async fn run(args: DemoArgs) -> Result<Code, Failure> {
    let mut signals = Signals::new().map_err(|error| {
        let message = format!("the system does not let it run: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    select! {
        biased;
        () = signals.next() => Ok(Code::Interrupted),
        outcome = play(args) => outcome,
    }
}

async fn play(args: DemoArgs) -> Result<Code, Failure> {
    let mut play = Play::begin(args).await?;
    play.progress
        .say("a broker, a bad network, and people who come in through it ...");
    play.enter().await?;
    play.talk().await?;
    play.settle().await;
    let ended_early = play.ended > 0;
    play.leave().await;
    play.progress.end();
    let verdict = play.score.verdict();
    // A closed stdout is no reason to say that the contract broke.
    let _ = writeln!(io::stdout(), "  {}\n  {verdict}", play.summary());
    Ok(if verdict.holds() && !ended_early {
        Code::Done
    } else {
        Code::Broken
    })
}

/// Everything that takes part.
struct Play {
    args: DemoArgs,
    clock: Clock,
    stage: Stage,
    relay: Relay,
    broker: Option<Broker>,
    broker_address: SocketAddr,
    nodes: Vec<Node>,
    shown: mpsc::Receiver<Shown>,
    score: Score,
    /// What is still to happen, and when, in this order.
    agenda: Vec<(Timestamp, Event)>,
    kills: u32,
    moves: u32,
    /// How many nodes have ended.
    ended: usize,
    progress: Progress,
}

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// The next line is typed, by this node.
    Type(usize),
    /// Every node gets a new address.
    Move,
    Kill,
    Restart,
}

impl Play {
    /// Sets the stage.
    async fn begin(args: DemoArgs) -> Result<Self, Failure> {
        let stage = Stage::new()?;
        let broker = stage.start_broker(None).await?;
        let faults = Faults {
            loss_percent: args.loss,
            duplicate_percent: args.duplicate,
            delay_ms: u64::try_from(args.delay.as_millis()).unwrap_or(u64::MAX),
            jitter_ms_max: if args.reorder { REORDER_MS_MAX } else { 0 },
            flip_every: None,
        };
        let relay = Relay::start(broker.address, faults).await;
        let relay = relay.map_err(|error| {
            Failure::new(Code::Unavailable, format!("no relay on loopback: {error}"))
        })?;
        let (sender, shown) = mpsc::channel(SHOWN_WAITING_MAX);
        let mut nodes = Vec::new();
        for (index, name) in NAMES.iter().enumerate().take(usize::from(args.nodes)) {
            nodes.push(stage.start_node(index, name, relay.address, sender.clone())?);
        }
        Ok(Self {
            score: Score::new(nodes.len()),
            progress: Progress::new(),
            clock: Clock::system(),
            args,
            stage,
            relay,
            broker_address: broker.address,
            broker: Some(broker),
            nodes,
            shown,
            agenda: Vec::new(),
            kills: 0,
            moves: 0,
            ended: 0,
        })
    }

    /// Waits until everybody is in, and has been told of all who came later.
    async fn enter(&mut self) -> Result<(), Failure> {
        // The first is told of all of them, the last of itself.
        let expected = self.nodes.len() * (self.nodes.len() + 1) / 2;
        let deadline = self.clock.now() + PATIENCE;
        let mut joined = 0;
        while joined < expected {
            let shown = select! {
                biased;
                shown = self.shown.recv() => shown,
                () = self.clock.sleep_until(Some(deadline)) => None,
            };
            match shown {
                Some(Shown::Line(_, line)) => {
                    joined += usize::from(line.ends_with(" Joined!"));
                }
                Some(Shown::End(node)) => return Err(self.node_ended(node)),
                None => {
                    let what = format!("only {joined} of {expected} joined in time");
                    return Err(self.stage.failure(Code::Unavailable, &what, NAMES[0]));
                }
            }
        }
        Ok(())
    }

    /// Lets them type, while things happen.
    async fn talk(&mut self) -> Result<(), Failure> {
        self.agenda = agenda(&self.args, self.clock.now());
        while let Some((at, event)) = self.agenda.first().copied() {
            select! {
                biased;
                () = self.clock.sleep_until(Some(at)) => {
                    self.agenda.remove(0);
                    self.happen(event).await?;
                }
                Some(shown) = self.shown.recv() => self.take(shown),
            }
            self.tell_progress();
        }
        Ok(())
    }

    async fn happen(&mut self, event: Event) -> Result<(), Failure> {
        match event {
            Event::Type(node) => {
                let name = NAMES[node];
                let text = format!("line {} of {}", self.score.sent() + 1, self.args.lines);
                let line = format!("{name}: {text}");
                self.score.typed(node, line, self.clock.now());
                // A node that takes no more has ended, which its stdout tells.
                self.nodes[node].type_line(&text).await;
            }
            Event::Move => {
                self.relay.rebind();
                self.moves += 1;
            }
            Event::Kill => {
                if let Some(broker) = self.broker.take() {
                    self.broker_address = broker.address;
                    broker.kill().await;
                    self.kills += 1;
                }
            }
            Event::Restart => {
                let at = Some(self.broker_address);
                self.broker = Some(self.stage.start_broker(at).await?);
            }
        }
        Ok(())
    }

    /// Waits until everything is shown, or nothing more is.
    async fn settle(&mut self) {
        let mut quiet_at = self.clock.now() + PATIENCE;
        while !self.score.is_complete() && self.ended == 0 {
            select! {
                biased;
                Some(shown) = self.shown.recv() => {
                    self.take(shown);
                    quiet_at = self.clock.now() + PATIENCE;
                }
                () = self.clock.sleep_until(Some(quiet_at)) => return,
            }
            self.tell_progress();
        }
    }

    /// Lets everybody leave, and counts what they are shown until then.
    async fn leave(&mut self) {
        // Those who leave are announced to those who have not left yet.
        let is_farewell = |line: &str| line == FAREWELL || line.ends_with(" Left!");
        for node in &mut self.nodes {
            node.end_input();
        }
        let deadline = self.clock.now() + PATIENCE;
        while self.ended < self.nodes.len() {
            select! {
                biased;
                Some(shown) = self.shown.recv() => match shown {
                    Shown::End(_) => self.ended += 1,
                    Shown::Line(_, line) if is_farewell(&line) => {}
                    line @ Shown::Line(..) => self.take(line),
                },
                () = self.clock.sleep_until(Some(deadline)) => break,
            }
        }
        for node in self.nodes.drain(..) {
            node.kill().await;
        }
        if let Some(broker) = self.broker.take() {
            broker.kill().await;
        }
    }

    fn take(&mut self, shown: Shown) {
        match shown {
            Shown::Line(node, line) => self.score.shown(node, line, self.clock.now()),
            Shown::End(node) => {
                self.ended += 1;
                self.progress.say(&self.node_ended(node).to_string());
            }
        }
    }

    /// A node that ends of itself breaks the contract, whenever it does (CLI-15).
    fn node_ended(&self, node: usize) -> Failure {
        let name = NAMES[node];
        let what = format!("{name}'s node ended");
        self.stage.failure(Code::Broken, &what, name)
    }

    fn summary(&self) -> String {
        let Self { args, .. } = self;
        format!(
            "{} nodes, {} lines, {} % lost each way, broker killed {}x, address changed {}x",
            args.nodes, args.lines, args.loss, self.kills, self.moves
        )
    }

    fn tell_progress(&mut self) {
        let (score, kills, moves) = (&self.score, self.kills, self.moves);
        self.progress.tell(self.clock.now(), || {
            let shown: Vec<String> = score.counts().iter().map(usize::to_string).collect();
            format!(
                "typed {}   shown {}   broker killed {kills}x, address changed {moves}x",
                score.sent(),
                shown.join(" ")
            )
        });
    }
}

/// What is to happen when, beginning at `start`.
fn agenda(args: &DemoArgs, start: Timestamp) -> Vec<(Timestamp, Event)> {
    let nodes = usize::from(args.nodes);
    let mut agenda = Vec::new();
    for line in 0..args.lines {
        let event = Event::Type(line as usize % nodes);
        agenda.push((start + args.every * line, event));
    }
    let total = args.every * args.lines;
    for kill in 1..=args.kill_broker {
        let at = start + total * kill / (args.kill_broker + 1);
        agenda.push((at, Event::Kill));
        agenda.push((at + BROKER_AWAY, Event::Restart));
    }
    for number in 0..args.moves {
        let at = start + total * (2 * number + 1) / (2 * args.moves);
        agenda.push((at, Event::Move));
    }
    agenda.sort_by_key(|(at, _)| *at);
    agenda
}

/// Says on stderr how far it has come: in place on a terminal, else now and then.
struct Progress {
    in_place: bool,
    next: Timestamp,
}

impl Progress {
    fn new() -> Self {
        Self {
            in_place: io::stderr().is_terminal() && escapes_are_welcome(),
            next: Timestamp::ZERO,
        }
    }

    /// Says something that stays.
    fn say(&self, text: &str) {
        // Progress that nobody wants to see is no reason to end.
        let _ = writeln!(io::stderr(), "  {text}");
    }

    /// Says how far it has come, if that was not said just now.
    fn tell(&mut self, now: Timestamp, text: impl FnOnce() -> String) {
        if now < self.next {
            return;
        }
        let (often, seldom) = PROGRESS_EVERY;
        if self.in_place {
            self.next = now + often;
            let _ = write!(io::stderr(), "{CLEAR_LINE}  {}", text());
        } else {
            self.next = now + seldom;
            self.say(&text());
        }
    }

    /// Makes room for the verdict.
    fn end(&self) {
        if self.in_place {
            let _ = write!(io::stderr(), "{CLEAR_LINE}");
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn parse(args: &[&str]) -> DemoArgs {
        DemoArgs::try_parse_from(["demo"].iter().chain(args)).unwrap()
    }

    /// CLI-15.
    #[test]
    fn everything_asked_for_is_on_the_agenda_and_a_killed_broker_comes_back() {
        let args = parse(&[
            "--loss",
            "30%",
            "--reorder",
            "--kill-broker",
            "--lines",
            "100",
        ]);
        let agenda = agenda(&args, Timestamp::ZERO);
        let count = |wanted: fn(&Event) -> bool| {
            let events = agenda.iter().map(|(_, event)| event);
            events.filter(|event| wanted(event)).count()
        };
        assert_eq!(count(|event| matches!(event, Event::Type(_))), 100);
        assert_eq!(count(|event| matches!(event, Event::Move)), 5);
        let life: Vec<Event> = agenda
            .iter()
            .map(|(_, event)| *event)
            .filter(|event| matches!(event, Event::Kill | Event::Restart))
            .collect();
        assert_eq!(life, [Event::Kill, Event::Restart].repeat(3));
    }

    #[test]
    fn a_percentage_may_have_its_sign() {
        assert_eq!(parse(&["--loss", "12"]).loss, 12);
        assert_eq!(parse(&["--loss", "12%"]).loss, 12);
        assert!(DemoArgs::try_parse_from(["demo", "--loss", "100%"]).is_err());
    }
}
