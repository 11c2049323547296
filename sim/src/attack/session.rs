//! One end of a link that keeps to no rule: the real codecs and the real keys, and none of a link's
//! manners.
//!
//! It can do what an honest link does, as plainly as possible, because hardly anything can be tried
//! on somebody who does not listen: it puts messages together, acknowledges, and says again what
//! was not acknowledged. And it can do all of that wrong.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tertulia::secure::{LinkSecrets, Opener, Sealer};
use tertulia::time::Timestamp;
use tertulia::wire::{
    ACK_RANGES_MAX, Ack, AckRanges, DataHeader, Frame, decode_frames, pad_for_sample, put_frag,
    put_msg,
};

/// What was not acknowledged for so long is said again.
const AGAIN_AFTER: Duration = Duration::from_millis(400);
/// So many packets are said again at most; older ones are given up.
const UNACKED_MAX: usize = 256;
/// A piece of a message is so long at most, so that its packet fits a datagram.
const PIECE_MAX: usize = 1_100;
/// So many packets in a row hold a number that was left out, whatever the dice said (ACK-3).
const SURELY_SKIPPED: u64 = 300;
/// So far beyond the last packet that came nothing can have been sent.
const SURELY_UNSENT: u64 = 100_000;

/// How an end acknowledges.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Acks {
    /// What has come, when it has come.
    Honest,
    /// Nothing at all.
    Withheld,
    /// What may be under way besides what has come.
    Optimistic,
    /// What was never sent.
    Unsent,
    /// All up to the newest packet, and so what was left out on purpose.
    Skipped,
    /// What has come, many times, in as many ranges as there may be.
    Storm,
}

impl Acks {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Honest,
        Self::Withheld,
        Self::Optimistic,
        Self::Unsent,
        Self::Skipped,
        Self::Storm,
    ];
}

/// What an end heard in one datagram.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Messages, with their channels.
    pub(super) messages: Vec<(u8, Bytes)>,
    /// The other end has closed the link.
    pub(super) is_closed: bool,
    /// There was something else than CLOSE.
    pub(super) is_more_than_close: bool,
}

/// One end of a link.
pub(super) struct Session {
    sealer: Sealer,
    opener: Opener,
    remote_cid: Vec<u8>,
    local_cid_len: usize,
    pub(super) acks: Acks,
    next: u64,
    heard: BTreeSet<u64>,
    owes_ack: bool,
    /// The numbers of the next messages, by channel.
    numbers: BTreeMap<u8, u64>,
    /// What has come of the messages of each channel.
    incoming: BTreeMap<u8, Incoming>,
    /// What is to be said, packet by packet.
    payloads: Vec<Payload>,
    unacked: BTreeMap<u64, (Timestamp, Bytes)>,
}

/// The frames of a packet.
struct Payload {
    bytes: Bytes,
    /// They are said again until they are acknowledged.
    again: bool,
    /// They acknowledge what cannot have come.
    is_sure_lie: bool,
}

/// The messages of one channel, as they come.
#[derive(Default)]
struct Incoming {
    next: u64,
    whole: BTreeMap<u64, Bytes>,
    pieces: BTreeMap<u64, BTreeMap<u64, Bytes>>,
}

impl Session {
    pub(super) fn new(
        secrets: &LinkSecrets,
        remote_cid: &[u8],
        local_cid_len: usize,
        acks: Acks,
    ) -> Self {
        Self {
            sealer: Sealer::new(&secrets.send),
            opener: Opener::new(&secrets.receive),
            remote_cid: remote_cid.to_vec(),
            local_cid_len,
            acks,
            next: 0,
            heard: BTreeSet::new(),
            owes_ack: false,
            numbers: BTreeMap::new(),
            incoming: BTreeMap::new(),
            payloads: Vec::new(),
            unacked: BTreeMap::new(),
        }
    }

    /// Takes a datagram; `None` if it does not decrypt.
    pub(super) fn hear(&mut self, datagram: &[u8]) -> Option<Heard> {
        let opened = self
            .opener
            .open(BytesMut::from(datagram), self.local_cid_len)
            .ok()?;
        self.heard.insert(opened.number);
        let mut heard = Heard::default();
        for frame in decode_frames(opened.payload).map_while(Result::ok) {
            self.owes_ack |= frame.is_ack_eliciting();
            heard.is_more_than_close |= !matches!(frame, Frame::Close { .. } | Frame::Pad);
            match frame {
                Frame::Close { .. } => heard.is_closed = true,
                Frame::Ack(ack) => {
                    for range in ack.ranges.iter() {
                        self.unacked.retain(|number, _| !range.contains(number));
                    }
                }
                // There is nothing to be gained by hiding where one is.
                Frame::PathChallenge(data) => self.say_frames(&[Frame::PathResponse(data)], false),
                other => self.take_message(other, &mut heard.messages),
            }
        }
        Some(heard)
    }

    fn take_message(&mut self, frame: Frame, messages: &mut Vec<(u8, Bytes)>) {
        let (channel, number) = match &frame {
            Frame::Msg {
                channel, number, ..
            }
            | Frame::Frag {
                channel, number, ..
            } => (*channel as u8, *number),
            _ => return,
        };
        let incoming = self.incoming.entry(channel).or_default();
        match frame {
            Frame::Msg { data, .. } if number >= incoming.next => {
                incoming.whole.insert(number, data);
            }
            Frame::Frag {
                total,
                offset,
                data,
                ..
            } if number >= incoming.next => {
                let pieces = incoming.pieces.entry(number).or_default();
                pieces.insert(offset, data);
                let have: usize = pieces.values().map(Bytes::len).sum();
                if have as u64 == total {
                    let pieces = incoming.pieces.remove(&number).unwrap_or_default();
                    let whole: Vec<u8> = pieces.into_values().flatten().collect();
                    incoming.whole.insert(number, whole.into());
                }
            }
            _ => {}
        }
        while let Some(data) = incoming.whole.remove(&incoming.next) {
            incoming.next += 1;
            messages.push((channel, data));
        }
    }

    /// Says a message, and says it again until it is acknowledged.
    pub(super) fn say(&mut self, channel: u8, message: &[u8]) {
        let next = self.numbers.entry(channel).or_default();
        let number = *next;
        *next += 1;
        self.say_numbered(channel, number, message);
    }

    /// Says a message under a number that may be anything.
    pub(super) fn say_numbered(&mut self, channel: u8, number: u64, message: &[u8]) {
        if message.len() <= PIECE_MAX {
            let mut payload = Vec::new();
            put_msg(&mut payload, channel.into(), number, message);
            self.put(payload, true);
            return;
        }
        let total = message.len() as u64;
        for (index, piece) in message.chunks(PIECE_MAX).enumerate() {
            let mut payload = Vec::new();
            let offset = (index * PIECE_MAX) as u64;
            put_frag(&mut payload, channel.into(), number, total, offset, piece);
            self.put(payload, true);
        }
    }

    /// Says frames, in a packet of their own.
    pub(super) fn say_frames(&mut self, frames: &[Frame], again: bool) {
        let mut payload = Vec::new();
        for frame in frames {
            frame.encode(&mut payload);
        }
        self.put(payload, again);
    }

    /// Says bytes that need not be frames.
    pub(super) fn say_raw(&mut self, payload: &[u8]) {
        self.put(payload.to_vec(), false);
    }

    /// Leaves out packet numbers, so that what is acknowledged has holes.
    pub(super) const fn skip_numbers(&mut self, count: u64) {
        self.next += count;
    }

    fn put(&mut self, payload: Vec<u8>, again: bool) {
        self.payloads.push(Payload {
            bytes: payload.into(),
            again,
            is_sure_lie: false,
        });
    }

    /// Everything that is to be sent now, each with whether it acknowledges what cannot have come.
    pub(super) fn datagrams(&mut self, now: Timestamp) -> Vec<(Vec<u8>, bool)> {
        let due = |(at, _): &(Timestamp, Bytes)| *at + AGAIN_AFTER <= now;
        let again: Vec<u64> = self
            .unacked
            .iter()
            .filter(|(_, sent)| due(sent))
            .map(|(number, _)| *number)
            .collect();
        for number in again {
            if let Some((_, payload)) = self.unacked.remove(&number) {
                self.put(payload.to_vec(), true);
            }
        }
        let (acks, is_sure_lie) = self.acks_due();
        for ack in acks {
            self.say_frames(&[Frame::Ack(ack)], false);
        }
        if let Some(last) = self.payloads.last_mut() {
            last.is_sure_lie = is_sure_lie;
        }
        let payloads = core::mem::take(&mut self.payloads);
        let sealed = payloads.into_iter().map(|payload| {
            let (number, datagram) = self.seal(&payload.bytes);
            if payload.again {
                self.unacked.insert(number, (now, payload.bytes));
            }
            (datagram, payload.is_sure_lie)
        });
        let sealed = sealed.collect();
        while self.unacked.len() > UNACKED_MAX {
            self.unacked.pop_first();
        }
        sealed
    }

    fn seal(&mut self, payload: &[u8]) -> (u64, Vec<u8>) {
        let number = self.next;
        self.next += 1;
        let mut out = Vec::new();
        let offset = DataHeader::new(&self.remote_cid, number, None).encode(&mut out);
        out.extend_from_slice(payload);
        pad_for_sample(&mut out, offset);
        self.sealer.seal(number, &mut out, 0, offset);
        (number, out)
    }

    /// The acknowledgements that are due, if they are told at all, true or not; and whether they are
    /// lies for certain.
    fn acks_due(&mut self) -> (Vec<Ack>, bool) {
        let Some(newest) = self.heard.last().copied().filter(|_| self.owes_ack) else {
            return (Vec::new(), false);
        };
        let honest = self.ranges(4);
        let ranges = match self.acks {
            Acks::Withheld => return (Vec::new(), false),
            Acks::Honest => vec![honest],
            Acks::Optimistic => vec![AckRanges::new(0..=newest + 2)],
            Acks::Unsent => vec![AckRanges::new(0..=newest + SURELY_UNSENT)],
            Acks::Skipped => vec![AckRanges::new(0..=newest)],
            Acks::Storm => vec![self.ranges(ACK_RANGES_MAX); 20],
        };
        self.owes_ack = false;
        let ack = |ranges: Option<AckRanges>| {
            Some(Ack {
                delay_us: 0,
                ranges: ranges?,
                ecn: None,
            })
        };
        let is_sure_lie = match self.acks {
            Acks::Unsent => true,
            Acks::Skipped => newest > SURELY_SKIPPED,
            _ => false,
        };
        (ranges.into_iter().filter_map(ack).collect(), is_sure_lie)
    }

    /// The highest ranges of what has come.
    fn ranges(&self, max: usize) -> Option<AckRanges> {
        let mut all: Vec<(u64, u64)> = Vec::new();
        for number in self.heard.iter().rev() {
            let is_full = all.len() == max;
            match all.last_mut() {
                Some((low, _)) if *low == number + 1 => *low = *number,
                _ if is_full => break,
                _ => all.push((*number, *number)),
            }
        }
        let mut all = all.into_iter();
        let (low, high) = all.next()?;
        let mut ranges = AckRanges::new(low..=high)?;
        for (low, high) in all {
            let _fits = ranges.push(low..=high);
        }
        Some(ranges)
    }
}
