//! What the two machines have in common for whoever drives them.

use std::ops::ControlFlow;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::oneshot;

use crate::broker::{Broker, BrokerEvent, Report, StorageCompletion, StorageRequest};
use crate::chat::{Decision, HistoryPolicy, InviteWish, RoomName};
use crate::client::{
    Asker, Client, ClientEvent, JoinOptions, JournalRequest, JournalState, PublishError,
};
use crate::drops::Drops;
use crate::secure::{AccountKey, DeviceKey, NodeIdentity};
use crate::time::Timestamp;
use crate::transmit::{Origin, Transmit};
use crate::wire::is_data;

/// A state machine that can be driven. The methods do what those of the same name do in [`Broker`]
/// and [`Client`].
pub trait Machine: Send + 'static {
    /// What others can tell it to do.
    type Command: Send;
    /// What it tells others.
    type Event: Send;
    /// What it asks of its store.
    type Request;
    /// What the store answers.
    type Completion;

    /// Whether [`handle_resume`](Self::handle_resume) does anything.
    const HEEDS_SUSPENSION: bool = false;

    /// Takes a datagram.
    fn handle_datagram(&mut self, origin: Origin, datagram: BytesMut, now: Timestamp);
    /// Whether it wants to be told how long this datagram took it.
    fn is_timed(_datagram: &[u8]) -> bool {
        false
    }
    /// The datagram that was handled last took so much of the processor's time.
    fn handle_time_taken(&mut self, _taken: Duration, _now: Timestamp) {}
    /// Does what has come due.
    fn handle_timeout(&mut self, now: Timestamp);
    /// This machine was suspended, and goes on.
    fn handle_resume(&mut self, _now: Timestamp) {}
    /// Takes the store's answer.
    fn handle_completion(&mut self, completion: Self::Completion, now: Timestamp);
    /// Takes what the wall clock says, in milliseconds of Unix time; at least once every turn.
    fn set_wall_clock(&mut self, unix_ms: u64, now: Timestamp);
    /// Obeys a command. Breaks if it is the last one.
    fn handle_command(
        &mut self,
        command: Self::Command,
        unix_ms: u64,
        now: Timestamp,
    ) -> ControlFlow<()>;
    /// Ends in an orderly way, because nobody is left to give commands.
    fn shut_down(&mut self, now: Timestamp);

    /// Appends the next batch of datagrams to `out`.
    fn poll_transmit(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Transmit>;
    /// The next request to the store.
    fn poll_request(&mut self) -> Option<Self::Request>;
    /// The next event.
    fn poll_event(&mut self) -> Option<Self::Event>;
    /// Whether the machine is done after this event.
    fn is_last(event: &Self::Event) -> bool;
    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    fn poll_timeout(&self) -> Option<Timestamp>;
}

/// What a broker can be told to do.
#[derive(Debug)]
pub enum BrokerCommand {
    /// Close all links and end.
    ShutDown,
    /// Say how many datagrams were dropped so far (BRK-4).
    Drops(oneshot::Sender<Drops>),
    /// Say how it is (MET-1).
    Report(oneshot::Sender<Report>),
    /// [`Broker::decide`].
    Decide {
        /// The order under which it was left with the store.
        order: Option<u64>,
        /// In which room.
        room: RoomName,
        /// What.
        decision: Decision,
    },
    /// [`Broker::close_revoked`].
    CloseRevoked {
        /// Whose device.
        account: AccountKey,
        /// Which one.
        device: DeviceKey,
    },
}

impl Machine for Broker {
    type Command = BrokerCommand;
    type Event = BrokerEvent;
    type Request = StorageRequest;
    type Completion = StorageCompletion;

    fn handle_datagram(&mut self, origin: Origin, datagram: BytesMut, now: Timestamp) {
        Self::handle_datagram(self, origin, datagram, now);
    }

    fn is_timed(datagram: &[u8]) -> bool {
        datagram.first().is_some_and(|first| !is_data(*first))
    }

    fn handle_time_taken(&mut self, taken: Duration, now: Timestamp) {
        Self::handle_time_taken(self, taken, now);
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        Self::handle_timeout(self, now);
    }

    fn handle_completion(&mut self, completion: StorageCompletion, now: Timestamp) {
        self.handle_storage(completion, now);
    }

    fn set_wall_clock(&mut self, unix_ms: u64, now: Timestamp) {
        Self::set_wall_clock(self, unix_ms, now);
    }

    fn handle_command(
        &mut self,
        command: BrokerCommand,
        _unix_ms: u64,
        now: Timestamp,
    ) -> ControlFlow<()> {
        match command {
            BrokerCommand::ShutDown => {
                Self::shut_down(self, now);
                return ControlFlow::Break(());
            }
            // Who asked may have lost interest.
            BrokerCommand::Drops(reply) => {
                let _ = reply.send(self.drops().clone());
            }
            BrokerCommand::Report(reply) => {
                let _ = reply.send(self.report());
            }
            BrokerCommand::Decide {
                order,
                room,
                decision,
            } => self.decide(order, room, decision, now),
            BrokerCommand::CloseRevoked { account, device } => {
                self.close_revoked(account, device, now);
            }
        }
        ControlFlow::Continue(())
    }

    fn shut_down(&mut self, now: Timestamp) {
        Self::shut_down(self, now);
    }

    fn poll_transmit(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        Self::poll_transmit(self, now, out)
    }

    fn poll_request(&mut self) -> Option<StorageRequest> {
        self.poll_storage()
    }

    fn poll_event(&mut self) -> Option<BrokerEvent> {
        Self::poll_event(self)
    }

    fn is_last(_event: &BrokerEvent) -> bool {
        false
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        Self::poll_timeout(self).map(|deadline| deadline.at)
    }
}

/// What a node can be told to do.
#[derive(Debug)]
pub enum NodeCommand {
    /// [`Client::join`].
    Join(JoinOptions),
    /// [`Client::publish`], typed now.
    Publish {
        /// Into which room.
        room: RoomName,
        /// The line.
        text: Bytes,
        /// Told the publication's handle, or why there is none.
        reply: oneshot::Sender<Result<u64, PublishError>>,
    },
    /// [`Client::publish`], typed now, and [`Client::watch`].
    PublishWatched {
        /// Into which room.
        room: RoomName,
        /// The line.
        text: Bytes,
        /// Told the publication's handle, or why there is none.
        reply: oneshot::Sender<Result<u64, PublishError>>,
    },
    /// [`Client::watch`]: for what waits from before.
    Watch {
        /// What the publication is called.
        handle: u64,
    },
    /// [`Client::watch_line`].
    WatchLine {
        /// In which room.
        room: RoomName,
        /// Which line.
        seq: u64,
    },
    /// [`Client::set_policy`], decided now.
    SetPolicy {
        /// Of which room.
        room: RoomName,
        /// Who may read what was said before they came.
        policy: HistoryPolicy,
        /// Told the publication's handle, or why there is none.
        reply: oneshot::Sender<Result<u64, PublishError>>,
    },
    /// [`Client::decide`], decided now.
    Decide {
        /// In which room.
        room: RoomName,
        /// What, and about whom.
        decision: Decision,
        /// Told the publication's handle, or why there is none.
        reply: oneshot::Sender<Result<u64, PublishError>>,
    },
    /// [`Client::publish_spooled`].
    PublishSpooled {
        /// What it is called in the spool.
        id: u64,
        /// Into which room.
        room: RoomName,
        /// The line.
        text: Bytes,
        /// When it was typed, in milliseconds of Unix time.
        typed_at_ms: u64,
        /// Told the publication's handle, or why there is none.
        reply: oneshot::Sender<Result<u64, PublishError>>,
    },
    /// [`Client::restore`].
    Restore(Box<JournalState>),
    /// [`Client::leave_room`].
    LeaveRoom {
        /// Which room.
        room: RoomName,
    },
    /// [`Client::ask_who`].
    AskWho {
        /// In which room.
        room: RoomName,
        /// Told whether anybody was asked.
        reply: oneshot::Sender<bool>,
    },
    /// [`Client::ask_invite`].
    AskInvite {
        /// To which room.
        room: RoomName,
        /// What it is to be.
        wish: InviteWish,
        /// Told whether anybody was asked.
        reply: oneshot::Sender<bool>,
    },
    /// [`Client::ask_history`].
    AskHistory {
        /// Of which room.
        room: RoomName,
        /// Before which line; 0 for those before what the client was sent.
        before: u64,
        /// How many lines.
        count: u64,
        /// For whom.
        asker: Asker,
        /// Told whether it was asked, or will be.
        reply: oneshot::Sender<bool>,
    },
    /// [`Client::ask_rooms`].
    AskRooms {
        /// Told whether anybody was asked.
        reply: oneshot::Sender<bool>,
    },
    /// [`Client::handle_address_change`].
    AddressChange,
    /// [`Client::set_identity`].
    SetIdentity(Box<NodeIdentity>),
    /// [`Client::leave`].
    Leave,
    /// [`Client::abandon`].
    Abandon,
}

impl Machine for Client {
    type Command = NodeCommand;
    type Event = ClientEvent;
    type Request = JournalRequest;
    type Completion = u64;
    const HEEDS_SUSPENSION: bool = true;

    fn handle_resume(&mut self, now: Timestamp) {
        Self::handle_resume(self, now);
    }

    fn handle_datagram(&mut self, origin: Origin, datagram: BytesMut, now: Timestamp) {
        Self::handle_datagram(self, origin, datagram, now);
    }

    fn handle_timeout(&mut self, now: Timestamp) {
        Self::handle_timeout(self, now);
    }

    fn handle_completion(&mut self, id: u64, now: Timestamp) {
        self.handle_journaled(id, now);
    }

    fn set_wall_clock(&mut self, _unix_ms: u64, _now: Timestamp) {}

    fn handle_command(
        &mut self,
        command: NodeCommand,
        unix_ms: u64,
        now: Timestamp,
    ) -> ControlFlow<()> {
        // Who waits for a reply may have lost interest.
        match command {
            NodeCommand::Publish { room, text, reply } => {
                let _ = reply.send(self.publish(&room, &text, unix_ms, now));
            }
            NodeCommand::PublishWatched { room, text, reply } => {
                let published = self.publish(&room, &text, unix_ms, now);
                if let Ok(handle) = published {
                    self.watch(handle);
                }
                let _ = reply.send(published);
            }
            NodeCommand::SetPolicy {
                room,
                policy,
                reply,
            } => {
                let _ = reply.send(self.set_policy(&room, policy, unix_ms, now));
            }
            NodeCommand::Decide {
                room,
                decision,
                reply,
            } => {
                let _ = reply.send(self.decide(&room, &decision, unix_ms, now));
            }
            NodeCommand::PublishSpooled {
                id,
                room,
                text,
                typed_at_ms,
                reply,
            } => {
                let _ = reply.send(self.publish_spooled(&room, &text, typed_at_ms, Some(id), now));
            }
            command => self.handle_other_command(command, now),
        }
        ControlFlow::Continue(())
    }

    fn shut_down(&mut self, now: Timestamp) {
        self.abandon(now);
    }

    fn poll_transmit(&mut self, now: Timestamp, out: &mut Vec<u8>) -> Option<Transmit> {
        Self::poll_transmit(self, now, out)
    }

    fn poll_request(&mut self) -> Option<JournalRequest> {
        self.poll_journal()
    }

    fn poll_event(&mut self) -> Option<ClientEvent> {
        Self::poll_event(self)
    }

    fn is_last(event: &ClientEvent) -> bool {
        matches!(event, ClientEvent::Ended(_))
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        Self::poll_timeout(self).map(|deadline| deadline.at)
    }
}

impl Client {
    /// All commands that publish nothing.
    fn handle_other_command(&mut self, command: NodeCommand, now: Timestamp) {
        // Who waits for a reply may have lost interest.
        match command {
            NodeCommand::Join(options) => {
                let room = options.room.clone();
                if !self.join(options, now) {
                    tracing::warn!(%room, "not joined: too many rooms");
                }
            }
            NodeCommand::Watch { handle } => {
                self.watch(handle);
            }
            NodeCommand::WatchLine { room, seq } => {
                self.watch_line(&room, seq, now);
            }
            NodeCommand::Restore(journal) => {
                if !self.restore(*journal, now) {
                    tracing::warn!("the journal came too late");
                }
            }
            NodeCommand::LeaveRoom { room } => {
                self.leave_room(&room, now);
            }
            NodeCommand::AskWho { room, reply } => {
                let _ = reply.send(self.ask_who(&room, now));
            }
            NodeCommand::AskInvite { room, wish, reply } => {
                let _ = reply.send(self.ask_invite(&room, wish, now));
            }
            NodeCommand::AskHistory {
                room,
                before,
                count,
                asker,
                reply,
            } => {
                let _ = reply.send(self.ask_history(&room, before, count, asker, now));
            }
            NodeCommand::AskRooms { reply } => {
                let _ = reply.send(self.ask_rooms(now));
            }
            NodeCommand::AddressChange => self.handle_address_change(now),
            NodeCommand::SetIdentity(identity) => self.set_identity(*identity, now),
            NodeCommand::Leave => self.leave(now),
            NodeCommand::Abandon => self.abandon(now),
            // Taken by the caller.
            NodeCommand::Publish { .. }
            | NodeCommand::PublishWatched { .. }
            | NodeCommand::SetPolicy { .. }
            | NodeCommand::Decide { .. }
            | NodeCommand::PublishSpooled { .. } => {}
        }
    }
}
