//! What came through and what did not: acknowledgements, losses, probes, and what is to be sent
//! again (section 8.2 of SPEC.md).

use core::time::Duration;

use super::channel::{ReceiveChannels, SendChannels};
use super::cids::Cids;
use super::congestion::{AckedPacket, Congestion as _};
use super::envelope::Envelope;
use super::open::Open;
use super::report::{Stats, Violation};
use super::sent::{Control, Fate, Losses, SentPacket};
use crate::time::Timestamp;
use crate::wire::Ack;

impl Open {
    /// It is time to probe. When that has failed for two rounds, what is in flight by the books has
    /// left the network, one way or the other (LOSS-3).
    pub(super) fn on_probe_due(&mut self, stats: &mut Stats, now: Timestamp) {
        if self.ladder.is_past_foot() {
            let age = self.probe_timeout() * 2;
            let losses = self.sent.give_up(age, &self.rtt, now, |packet| {
                requeue(
                    &mut self.senders,
                    &mut self.receivers,
                    &mut self.cids,
                    packet,
                );
            });
            self.on_losses(losses, stats, now);
        }
        self.ladder.on_fired(now);
        self.probes_due += 1;
    }

    /// Lets a probe repeat what is in flight about the link itself (PROBE-2).
    pub(super) fn repeat_controls(&mut self) {
        for packet in self.sent.iter_in_flight() {
            requeue_controls(&mut self.receivers, &mut self.cids, packet);
        }
    }

    /// The peer says what has arrived.
    pub(super) fn on_ack(
        &mut self,
        ack: &Ack,
        envelope: &Envelope,
        stats: &mut Stats,
        now: Timestamp,
    ) -> Result<(), Violation> {
        let largest = ack.largest();
        if largest >= envelope.next_number() {
            return Err(Violation::AckOfUnsent);
        }
        for range in ack.ranges.iter() {
            if envelope.was_skipped(*range.start(), *range.end()) {
                return Err(Violation::AckOfSkipped);
            }
        }
        let mut has_news = false;
        let mut largest_sent_at = None;
        for range in ack.ranges.iter() {
            self.sent.acknowledge(&range, |packet| {
                has_news = true;
                if packet.number == largest {
                    largest_sent_at = Some(packet.sent_at);
                }
                for piece in packet.pieces.iter() {
                    self.senders.on_acked(piece);
                }
                if let Some(reported) = packet.reported {
                    self.received.on_ack_seen(reported);
                }
                match packet.fate {
                    Fate::Lost => stats.packets_lost_wrongly += 1,
                    Fate::InFlight | Fate::Acked => {
                        let acked = AckedPacket {
                            len: packet.len.into(),
                            sent_at: packet.sent_at,
                            stamp: packet.stamp,
                            is_app_limited: self.is_app_limited,
                        };
                        self.congestion.on_ack(&acked, now);
                    }
                }
            });
        }
        // A sample that began on another path says nothing about this one (PTH-3).
        let sample = largest_sent_at
            .filter(|sent_at| *sent_at >= self.moved_at)
            .map(|sent_at| now.saturating_since(sent_at));
        if let Some(sample) = sample {
            let delay = Duration::from_micros(ack.delay_us);
            self.rtt.on_sample(sample, delay, now);
        }
        self.on_loss_due(stats, now);
        let in_flight = self.sent.in_flight();
        self.congestion.on_ack_end(sample, in_flight, now);
        self.senders.set_window(self.congestion.window());
        if has_news {
            self.ladder.on_ack(self.sent.oldest_since_ack());
            self.probes_due = 0;
        }
        Ok(())
    }

    /// Finds out which packets are lost, and queues what they held again (LOSS-1, LOSS-2).
    pub(super) fn on_loss_due(&mut self, stats: &mut Stats, now: Timestamp) {
        let losses = self.sent.detect_losses(&self.rtt, now, |packet| {
            requeue(
                &mut self.senders,
                &mut self.receivers,
                &mut self.cids,
                packet,
            );
        });
        self.on_losses(losses, stats, now);
    }

    fn on_losses(&mut self, losses: Losses, stats: &mut Stats, now: Timestamp) {
        stats.packets_lost += losses.count;
        if let Some(newest) = losses.newest {
            self.congestion.on_loss(losses.bytes, newest, now);
        }
        if losses.persistent {
            self.congestion.on_persistent_congestion();
        }
    }
}

/// Queues again what a lost packet held (LOSS-2).
pub(super) fn requeue(
    senders: &mut SendChannels,
    receivers: &mut ReceiveChannels,
    cids: &mut Cids,
    packet: &SentPacket,
) {
    for piece in packet.pieces.iter() {
        senders.on_lost(piece);
    }
    requeue_controls(receivers, cids, packet);
}

fn requeue_controls(receivers: &mut ReceiveChannels, cids: &mut Cids, packet: &SentPacket) {
    for control in &packet.controls {
        match *control {
            Control::NewCid(sequence) => cids.set_offering(sequence, true),
            Control::RetireCid => cids.set_retiring(true),
            Control::Credit(channel) => receivers.on_credit_lost(channel),
        }
    }
}
