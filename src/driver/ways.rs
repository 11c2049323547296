//! From a host name to sockets and paths.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::lookup_host;

use super::{SystemSocket, bind};
use crate::transmit::Path;

/// A socket for each family that a host has addresses of, and every way to it.
#[derive(Debug)]
pub struct Ways {
    /// Bound, not connected; a path's `local` is an index into these.
    pub sockets: Vec<SystemSocket>,
    /// In the system's order of preference; never empty.
    pub paths: Vec<Path>,
}

/// Finds all addresses of `host`, and binds what is needed to reach them.
///
/// # Errors
///
/// If the name is not known, has no address, or none of a family that this machine has.
pub async fn find_ways(host: &str, port: u16) -> io::Result<Ways> {
    let addresses: Vec<SocketAddr> = lookup_host((host, port)).await?.collect();
    let mut ways = Ways {
        sockets: Vec::new(),
        paths: Vec::new(),
    };
    let mut trouble = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    let mut local_of_family = [None, None];
    for remote in addresses {
        let family = usize::from(remote.is_ipv6());
        if local_of_family[family].is_none() {
            let unspecified = match remote.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            match bind(SocketAddr::new(unspecified, 0)) {
                Ok(socket) => {
                    // At most one socket for each of two families.
                    local_of_family[family] = Some(ways.sockets.len() as u16);
                    ways.sockets.push(socket);
                }
                // A machine without this family.
                Err(error) => trouble = error,
            }
        }
        let is_new = ways.paths.iter().all(|path| path.remote != remote);
        if let Some(local) = local_of_family[family]
            && is_new
        {
            ways.paths.push(Path { remote, local });
        }
    }
    if ways.paths.is_empty() {
        Err(trouble)
    } else {
        Ok(ways)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_family_has_its_socket() {
        for (host, remote) in [("127.0.0.1", "127.0.0.1:7"), ("::1", "[::1]:7")] {
            let ways = find_ways(host, 7).await.unwrap();
            assert_eq!(ways.paths, [Path::new(remote.parse().unwrap())]);
            assert_eq!(ways.sockets.len(), 1);
        }
    }
}
