//! Invariant 10, for addresses that have not proved to be a node's: they get at most three times
//! what came from there (PTH-4), and of a link nothing but the question whether it is there now
//! (PTH-2, PTH-3), or word that it is no more (RST-2). And for every address, whoever is there: by
//! handshakes nobody has more sent there than he sends himself, and no answer is longer than what
//! it may answer (HSD-8).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use tertulia::secure::RESET_LEN_MAX;

use super::Checker;
use crate::history::{History, Observation};

/// How many times what came from an address may go there.
const AMPLIFICATION_MAX: u64 = 3;
/// The longest of the data class: a stateless reset (RST-2). A datagram that asks for a proof is
/// shorter: flags, connection id, number, PATH_CHALLENGE, tag.
const DATA_LEN_MAX: usize = RESET_LEN_MAX;
const _: () = assert!(1 + 8 + 4 + 9 + 16 <= DATA_LEN_MAX);

/// Bytes from and to each address that never proves anything: those of strangers and copiers.
#[derive(Default)]
pub(super) struct StrangersGetLittle {
    traffic: BTreeMap<SocketAddr, (u64, u64)>,
    /// The same for handshakes, from and to all addresses; and the longest datagram that came.
    handshakes: BTreeMap<SocketAddr, (u64, u64, usize)>,
}

impl Checker for StrangersGetLittle {
    fn name(&self) -> &'static str {
        "strangers_get_little"
    }

    fn on(&mut self, observation: &Observation, _: &History) -> Result<(), String> {
        match *observation {
            Observation::FromStranger(address, len) => {
                self.traffic.entry(address).or_default().0 += len as u64;
                Ok(())
            }
            Observation::ToStranger(address, len, is_of_a_link) => {
                let (heard, sent) = self.traffic.entry(address).or_default();
                *sent += len as u64;
                if is_of_a_link && len > DATA_LEN_MAX {
                    return Err(format!("{len} bytes of a link go to {address}"));
                }
                if *sent > AMPLIFICATION_MAX * *heard {
                    return Err(format!("{sent} bytes go to {address}, {heard} came"));
                }
                Ok(())
            }
            Observation::ShookFrom(address, len) => {
                let (heard, _, longest) = self.handshakes.entry(address).or_default();
                (*heard, *longest) = (*heard + len as u64, len.max(*longest));
                Ok(())
            }
            Observation::ShookTo(address, len) => {
                let (heard, sent, longest) = self.handshakes.entry(address).or_default();
                *sent += len as u64;
                if *sent > *heard || len > *longest {
                    return Err(format!(
                        "handshakes send {sent} bytes to {address}, the last {len}; {heard} came, \
                         at most {longest} at a time"
                    ));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
