//! What is done about the devices of accounts: programs beside those of the people, each with a socket
//! of its own for each end.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use tertulia::secure::NodeIdentity;
use tertulia::transmit::Path;
use tertulia::wire::DATAGRAM_MAX;
use tokio::select;
use tokio::sync::mpsc::UnboundedSender;
use turmoil::net::UdpSocket;

use super::{State, WIRE_PORT, bind, now, sleep_until};
use crate::errands::{self, Change, End, Errands, Parties};
use crate::history::Observation;
use crate::plan::Plan;
use crate::world::broker_identity;

/// Whom to tell as which device he is linked.
pub(super) type Linked = BTreeMap<usize, UnboundedSender<NodeIdentity>>;

/// Starts all of a plan's.
pub(super) fn spawn(plan: &Plan, state: &State, linked: &Linked) {
    let broker = broker_identity(plan).public();
    let wire = turmoil::lookup("wire");
    let path = |way| Path::new(SocketAddr::new(wire, WIRE_PORT + way as u16));
    for (index, errands) in errands::errands(plan, broker, path).into_iter().enumerate() {
        let paths = [End::Owner, End::Device].map(|end| path(errands::way(plan, index, end)));
        let Some(linked) = linked.get(&errands.client).cloned() else {
            continue;
        };
        let state = state.clone();
        tokio::spawn(async move {
            if let Err(error) = run(errands, paths, &state, linked).await {
                state.violate("no_panic", error.to_string());
            }
        });
    }
}

/// Goes on until there is nothing to be done any more.
async fn run(
    mut errands: Errands,
    paths: [Path; 2],
    state: &State,
    linked: UnboundedSender<NodeIdentity>,
) -> io::Result<()> {
    let sockets = [bind(0).await?, bind(0).await?];
    while let Some(next) = errands.next() {
        select! {
            biased;
            result = sockets[0].readable() => result?,
            result = sockets[1].readable() => result?,
            () = sleep_until(Some(next)) => {}
        }
        for (end, socket) in [End::Owner, End::Device].into_iter().zip(&sockets) {
            hear(&mut errands, end, socket);
        }
        let parties = {
            let shared = state.lock();
            Parties {
                owner: shared.identities[errands.owner].clone(),
                device: shared.identities[errands.client].device(),
            }
        };
        errands.go_on(&parties, now());
        for (end, datagram) in errands.sent.drain(..) {
            // Sending fails for nobody but a peer that is gone.
            let _ = sockets[end as usize].try_send_to(&datagram, paths[end as usize].remote);
        }
        for change in errands.changes.drain(..) {
            match change {
                Change::Revoking(device) => {
                    state.observe(Observation::Revoking(errands.client, device));
                }
                // Who has gone home does not hear of it.
                Change::Linked(identity) => drop(linked.send(*identity)),
            }
        }
    }
    Ok(())
}

/// Takes what has come.
fn hear(errands: &mut Errands, end: End, socket: &UdpSocket) {
    let mut buffer = [0; DATAGRAM_MAX + 1];
    while let Ok((len, _)) = socket.try_recv_from(&mut buffer) {
        errands.hear(end, &buffer[..len], now());
    }
}
