//! What came through and what did not: acknowledgements, losses, probes, and what is to be sent
//! again (section 8.2 of SPEC.md).

use core::time::Duration;

use super::channel::{ReceiveChannels, SendChannels};
use super::cids::Cids;
use super::congestion::{AckedPacket, Congestion as _};
use super::copies::Copies;
use super::envelope::Envelope;
use super::open::{Open, Probe};
use super::report::{Stats, Violation};
use super::rtt::ACK_DELAY_MAX;
use super::sent::{Control, Fate, Losses, SentPacket};
use crate::bug;
use crate::time::Timestamp;
use crate::wire::Ack;

impl Open {
    /// It is time to probe. When that has failed for two rounds, what is in flight by the books has
    /// left the network, one way or the other (LOSS-3).
    pub(super) fn on_probe_due(&mut self, stats: &mut Stats, now: Timestamp) {
        let timeout = self.probe_timeout();
        let senders = &self.senders;
        if self
            .sent
            .settle(now - timeout, |piece| senders.is_settled(piece))
        {
            // What the timer ran for needs no repair (LOSS-4); what else is in flight may.
            self.ladder.on_ack(self.oldest_missing());
            let next = self.ladder.next(timeout, self.rtt.smoothed());
            if next.is_none_or(|next| next > now) {
                return;
            }
        }
        if self.ladder.is_past_foot() {
            let age = timeout * 2;
            let losses = self.sent.give_up(age, &self.rtt, now, |packet| {
                if packet.is_marked && packet.sent_at >= self.moved_at {
                    self.ecn.on_lost();
                }
                self.mtu.on_lost(packet.resolved(), now);
                requeue(
                    &mut self.senders,
                    &mut self.receivers,
                    &mut self.cids,
                    &self.copies,
                    packet,
                );
            });
            self.on_losses(losses, stats, now);
            self.mtu.fall(now);
            self.fit_datagrams();
        }
        self.probe = Some(match self.ladder.on_fired(timeout, now) {
            true => Probe::Free,
            false => Probe::Charged,
        });
    }

    /// When the oldest was sent of what only a probe will bring back: a message that is copied,
    /// or else a packet after which nothing was acknowledged; for others, the loss timer runs.
    fn oldest_missing(&self) -> Option<Timestamp> {
        let oldest = self.sent.oldest_since_ack();
        match (self.copies.oldest(), oldest) {
            (Some(copied), Some(oldest)) => Some(copied.min(oldest)),
            (copied, oldest) => copied.or(oldest),
        }
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
        if largest >= envelope.next_number() && !bug!(BelieveUnsent) {
            return Err(Violation::AckOfUnsent);
        }
        for range in ack.ranges.iter() {
            if envelope.was_skipped(*range.start(), *range.end()) && !bug!(BelieveSkipped) {
                return Err(Violation::AckOfSkipped);
            }
        }
        let mut has_news = false;
        let mut largest_sent_at = None;
        let largest_before = self.largest_acked();
        let mut marked = 0;
        for range in ack.ranges.iter() {
            self.sent.acknowledge(&range, |packet| {
                has_news = true;
                if packet.number == largest {
                    largest_sent_at = Some(packet.sent_at);
                }
                if packet.is_marked && packet.sent_at >= self.moved_at {
                    marked += 1;
                }
                for piece in packet.pieces.iter() {
                    self.senders.on_acked(piece);
                    self.copies.on_settled(piece);
                }
                self.mtu.on_acked(packet.resolved());
                match packet.is_counted {
                    true if packet.is_mtu_probe => {}
                    true => self.redundancy.take_back(),
                    false => self.redundancy.on_resolved(false, now),
                }
                if let Some(reported) = packet.reported {
                    self.received.on_ack_seen(reported);
                }
                let acked = AckedPacket {
                    len: packet.len.into(),
                    sent_at: packet.sent_at,
                    stamp: packet.stamp,
                    is_app_limited: self.is_app_limited,
                };
                match packet.fate {
                    Fate::Lost if packet.is_mtu_probe => {}
                    Fate::Lost => {
                        stats.packets_lost_wrongly += 1;
                        if Some(packet.number) < largest_before {
                            self.reordering.on_late(packet.sent_at, now);
                            self.congestion.on_late(&acked, now);
                        }
                    }
                    Fate::InFlight | Fate::Settled | Fate::Acked => {
                        self.congestion.on_ack(&acked, now);
                    }
                }
            });
        }
        // A sample that began on another path says nothing about this one (PTH-3), and one from an
        // acknowledgement that repeats an old one only how long that was ago (RTT-1).
        let delay = Duration::from_micros(ack.delay_us);
        let sample = largest_sent_at
            .filter(|sent_at| *sent_at >= self.moved_at && delay <= ACK_DELAY_MAX)
            .map(|sent_at| now.saturating_since(sent_at));
        if let Some(sample) = sample {
            self.held_back = match self.is_flight_thin() {
                true => delay,
                false => Duration::ZERO,
            };
            self.rtt.on_sample(sample, delay, now);
            self.redundancy.on_sample(&self.rtt, now);
        }
        if self.ecn.on_ack(marked, ack.ecn)
            && let Some(sent_at) = largest_sent_at
        {
            stats.marks_told += 1;
            self.redundancy.hold(self.rtt.smoothed(), now);
            self.congestion.on_marked(sent_at, now);
        }
        self.fit_datagrams();
        self.on_loss_due(stats, now);
        let in_flight = self.sent.in_flight();
        self.congestion.on_ack_end(sample, in_flight, now);
        self.senders.set_window(self.congestion.window());
        if has_news {
            self.ladder.on_ack(self.oldest_missing());
            self.probe = None;
        }
        Ok(())
    }

    /// Finds out which packets are lost, and queues what they held again (LOSS-1, LOSS-2).
    pub(super) fn on_loss_due(&mut self, stats: &mut Stats, now: Timestamp) {
        let losses = self
            .sent
            .detect_losses(&self.rtt, &self.reordering, now, |packet| {
                if packet.is_marked && packet.sent_at >= self.moved_at {
                    self.ecn.on_lost();
                }
                self.mtu.on_lost(packet.resolved(), now);
                requeue(
                    &mut self.senders,
                    &mut self.receivers,
                    &mut self.cids,
                    &self.copies,
                    packet,
                );
            });
        self.fit_datagrams();
        for _ in 0..losses.proved {
            self.redundancy.on_resolved(true, now);
        }
        self.on_losses(losses, stats, now);
    }

    /// Makes what is sent from now on as large as the path takes (MTU-1, MTU-4).
    fn fit_datagrams(&mut self) {
        let size = self.mtu.size();
        if self.senders.datagram() == size {
            return;
        }
        match size < self.senders.datagram() {
            true => self.senders.cut_anew(),
            false => self.senders.set_datagram(size),
        }
        self.congestion.set_datagram(size as u64);
    }

    fn on_losses(&mut self, losses: Losses, stats: &mut Stats, now: Timestamp) {
        if let Some(packets) = losses.packets {
            stats.packets_lost += packets.count;
            self.reordering.on_loss(packets.newest, now);
            self.congestion.on_loss(packets, now);
        }
        if losses.persistent {
            self.congestion.on_persistent_congestion();
        }
    }
}

/// Queues again what a lost packet held, but for what a later copy still stands for (LOSS-2).
pub(super) fn requeue(
    senders: &mut SendChannels,
    receivers: &mut ReceiveChannels,
    cids: &mut Cids,
    copies: &Copies,
    packet: &SentPacket,
) {
    for piece in packet.pieces.iter() {
        if !copies.was_sent_after(piece, packet.sent_at) {
            senders.on_lost(piece);
        }
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
