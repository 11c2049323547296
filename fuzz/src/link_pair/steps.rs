//! The fuzzer's bytes as steps of a pair of links.

use core::time::Duration;

use arbitrary::{Arbitrary, Result, Unstructured};
use tertulia::link::CHANNELS_MAX;
use tertulia::wire::{Frame, MESSAGE_MAX, put_sized, put_varint};

use super::super::network::{End, Fault};

/// More steps than these of one input are not taken.
const STEPS_MAX: usize = 96;
/// What time goes by at a step, in ms: around the timers of a link.
const WAITS_MS: [u64; 16] = [
    0, 1, 5, 10, 24, 26, 40, 60, 100, 250, 500, 1_000, 2_500, 5_100, 15_100, 26_000,
];
/// How long messages are: around the sizes of pieces, packets and limits.
const LENGTHS: [usize; 16] = [
    0,
    1,
    5,
    40,
    100,
    300,
    700,
    1_000,
    1_119,
    1_120,
    1_121,
    1_200,
    2_300,
    9_000,
    30_000,
    MESSAGE_MAX,
];
/// The channels that messages go on.
pub(super) const CHANNELS: [u8; 4] = [0, 1, 2, CHANNELS_MAX - 1];

#[derive(Debug)]
pub(super) struct Plan {
    pub(super) is_hostile: bool,
    pub(super) seed: u8,
    pub(super) steps: Vec<Step>,
}

impl<'a> Arbitrary<'a> for Plan {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let (is_hostile, seed) = (input.arbitrary()?, input.arbitrary()?);
        let mut steps = Vec::new();
        while !input.is_empty() && steps.len() < STEPS_MAX {
            steps.push(Step::arbitrary(input)?);
        }
        Ok(Self {
            is_hostile,
            seed,
            steps,
        })
    }
}

#[derive(Debug)]
pub(super) enum Step {
    Wait {
        duration: Duration,
    },
    Say {
        by: End,
        channel: u8,
        len: usize,
    },
    Deliver {
        pick: u8,
    },
    /// The oldest of what is under way now arrives in order.
    DeliverSome {
        count: u8,
    },
    Fault(Fault),
    Close {
        by: End,
    },
    /// One side seals with new keys from now on.
    RotateKeys {
        by: End,
    },
    Forge(Forgery),
}

/// A packet that is sealed with the true keys.
#[derive(Debug)]
pub(super) struct Forgery {
    pub(super) to: End,
    /// How far its number is ahead of how many datagrams the true peer has sent.
    pub(super) ahead: u16,
    /// Bits to set in the flags, besides the number's length: the epoch whose keys are taken, and
    /// reserved ones.
    pub(super) flags: u8,
    pub(super) frames: Vec<u8>,
}

impl<'a> Arbitrary<'a> for Step {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let high = usize::from(kind >> 4);
        Ok(match kind % 16 {
            0 | 1 => Self::Wait {
                duration: Duration::from_millis(WAITS_MS[high]),
            },
            2..=4 => {
                let what: u8 = input.arbitrary()?;
                Self::Say {
                    by: End::from_bit(what & 0x80 != 0),
                    channel: CHANNELS[usize::from(what) % CHANNELS.len()],
                    len: LENGTHS[high],
                }
            }
            5 | 6 => Self::Deliver {
                pick: input.arbitrary()?,
            },
            7 | 8 => Self::DeliverSome {
                count: 1 << (high % 8),
            },
            9..=11 => Self::Fault(input.arbitrary()?),
            12 if high == 14 => Self::RotateKeys {
                by: input.arbitrary().map(End::from_bit)?,
            },
            12 if high == 15 => Self::Close {
                by: input.arbitrary().map(End::from_bit)?,
            },
            _ => Self::Forge(input.arbitrary()?),
        })
    }
}

impl<'a> Arbitrary<'a> for Forgery {
    fn arbitrary(input: &mut Unstructured<'a>) -> Result<Self> {
        let kind: u8 = input.arbitrary()?;
        let ahead: u8 = input.arbitrary()?;
        let mut frames = Vec::new();
        for _ in 0..=(kind >> 1) % 4 {
            put_frame(input, &mut frames)?;
        }
        frames.truncate(1_100);
        Ok(Self {
            to: End::from_bit(kind & 1 != 0),
            ahead: match kind & 0x40 {
                0 => ahead.into(),
                _ => u16::from(ahead) << 8,
            },
            flags: match kind & 0x80 {
                0 => 0,
                _ => input.arbitrary::<u8>()? & 0x7c,
            },
            frames,
        })
    }
}

/// Appends something that may be a frame, with fields that mean something more often than not.
fn put_frame(input: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
    let small = |input: &mut Unstructured<'_>| input.arbitrary::<u8>().map(u64::from);
    let kind: u8 = input.arbitrary()?;
    match kind % 8 {
        0 => Frame::Ping.encode(out),
        1 | 2 => {
            // ACK: largest, delay, and ranges.
            out.push(0x02);
            put_varint(out, small(input)?);
            put_varint(out, small(input)? << 8);
            let further = small(input)? % 4;
            put_varint(out, further);
            put_varint(out, small(input)? / 8);
            for _ in 0..2 * further {
                put_varint(out, small(input)? / 8);
            }
        }
        3 | 4 => {
            // MSG: channel, number, bytes.
            out.push(0x04);
            put_varint(out, u64::from(kind >> 3) % 4 * 21);
            put_varint(out, small(input)? * 2);
            put_sized(out, &vec![0xab; small(input)? as usize * 4]);
        }
        5 => {
            // FRAG: channel, number, total, offset, bytes.
            out.push(0x05);
            put_varint(out, u64::from(kind >> 3) % 4 * 21);
            put_varint(out, small(input)?);
            put_varint(out, small(input)? << (kind >> 4));
            put_varint(out, small(input)? << (kind >> 4));
            put_sized(out, &vec![0xcd; small(input)? as usize]);
        }
        6 if kind & 0xc0 == 0 => {
            let code = small(input)?;
            let reason = "so be it".to_owned();
            Frame::Close { code, reason }.encode(out);
        }
        7 => put_management_frame(kind >> 3, input.arbitrary()?, input.arbitrary()?, out),
        _ => {
            let len = usize::from(kind >> 3).min(input.len());
            out.extend_from_slice(input.bytes(len)?);
        }
    }
    Ok(())
}

/// Appends a frame about credit, connection ids or paths.
fn put_management_frame(kind: u8, number: u8, value: u8, out: &mut Vec<u8>) {
    let kind = 0x07 + kind % 6;
    out.push(kind);
    match kind {
        // CREDIT_LINK: limit.
        0x07 => put_varint(out, u64::from(value) << 12),
        // CREDIT_CHANNEL: channel, limit.
        0x08 => {
            put_varint(out, number.into());
            put_varint(out, u64::from(value) << 12);
        }
        // NEW_CID: sequence, connection id.
        0x09 => {
            put_varint(out, number.into());
            put_sized(out, &[value; 8][..usize::from(value % 9)]);
        }
        // RETIRE_CID: sequence.
        0x0a => put_varint(out, number.into()),
        // PATH_CHALLENGE, PATH_RESPONSE: eight bytes.
        _ => out.extend_from_slice(&[value; 8]),
    }
}
