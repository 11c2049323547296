//! What is left of a link after it sent a CLOSE (LIF-3).

use super::envelope::Envelope;
use super::open::{Open, Verdict};
use super::report::{CloseCode, Violation};
use super::timer::{Deadline, Reason};
use crate::secure::Opened;
use crate::time::Timestamp;
use crate::wire::{Frame, REASON_MAX, decode_frames};

/// For how many probe time-outs a CLOSE is repeated to a peer that goes on sending (LIF-3).
const CLOSING_TIMEOUTS: u32 = 3;

/// A link whose CLOSE may have been lost.
#[derive(Debug)]
pub(super) struct Closing {
    /// The sealed CLOSE: always the same bytes.
    datagram: Vec<u8>,
    /// How many packets have come since.
    heard: u64,
    /// Whether the CLOSE is to be sent now.
    is_due: bool,
    /// When to forget the link.
    until: Timestamp,
}

impl Closing {
    pub(super) fn new(
        code: CloseCode,
        reason: &str,
        open: &Open,
        envelope: &mut Envelope,
        now: Timestamp,
    ) -> Self {
        let mut datagram = Vec::new();
        let packet = envelope.begin(open.largest_acked(), &mut datagram);
        let reason = &reason[..reason.floor_char_boundary(REASON_MAX)];
        let frame = Frame::Close {
            code: code.code(),
            reason: reason.to_owned(),
        };
        frame.encode(&mut datagram);
        envelope.finish(packet, 0, &mut datagram);
        Self {
            datagram,
            heard: 0,
            is_due: true,
            until: now + open.probe_timeout() * CLOSING_TIMEOUTS,
        }
    }

    /// A packet came from a peer that has not got the CLOSE, or has crossed it with its own. The
    /// answers thin out, so that two programs can never keep each other busy (LIF-3).
    pub(super) fn handle_packet(&mut self, opened: Opened) -> Result<Verdict, Violation> {
        for frame in decode_frames(opened.payload).flatten() {
            if let Frame::Close { code, reason } = frame {
                let code = code.into();
                return Ok(Verdict::Closed { code, reason });
            }
        }
        self.heard += 1;
        self.is_due |= self.heard.is_power_of_two();
        Ok(Verdict::GoesOn)
    }

    /// Appends the CLOSE, if it is due.
    pub(super) fn transmit(&mut self, out: &mut Vec<u8>) {
        if core::mem::take(&mut self.is_due) {
            out.extend_from_slice(&self.datagram);
        }
    }

    pub(super) fn is_over(&self, now: Timestamp) -> bool {
        self.until <= now
    }

    pub(super) const fn deadline(&self) -> Deadline {
        Deadline {
            at: self.until,
            reason: Reason::Closing,
        }
    }
}
