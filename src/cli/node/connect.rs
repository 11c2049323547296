//! From a host name to sockets and paths.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::{UdpSocket, lookup_host};

use crate::cli::address::HostPort;
use crate::cli::exit::{Code, Failure};
use crate::transmit::Path;

/// A socket for each family that the broker has addresses of, and every way to it.
pub(super) struct Ways {
    pub(super) sockets: Vec<UdpSocket>,
    pub(super) paths: Vec<Path>,
}

/// Finds all addresses of `host`, in the system's order of preference, and binds what is needed to
/// reach them.
pub(super) async fn find_ways(host: &HostPort) -> Result<Ways, Failure> {
    let found = lookup_host((host.host.as_str(), host.port)).await;
    let addresses: Vec<SocketAddr> = found
        .map_err(|error| {
            let message = format!("cannot find {}: {error}", host.host);
            Failure::new(Code::Unavailable, message)
        })?
        .collect();
    let mut ways = Ways {
        sockets: Vec::new(),
        paths: Vec::new(),
    };
    let mut trouble = "it has no address".to_owned();
    let mut local_of_family = [None, None];
    for remote in addresses {
        let family = usize::from(remote.is_ipv6());
        if local_of_family[family].is_none() {
            let unspecified = match remote.ip() {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            };
            match UdpSocket::bind((unspecified, 0)).await {
                Ok(socket) => {
                    // At most one socket for each of two families.
                    local_of_family[family] = Some(ways.sockets.len() as u16);
                    ways.sockets.push(socket);
                }
                // A machine without this family.
                Err(error) => trouble = error.to_string(),
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
        let message = format!("cannot reach {}: {trouble}", host.host);
        return Err(Failure::new(Code::Unavailable, message));
    }
    Ok(ways)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_family_has_its_socket() {
        for (host, remote) in [("127.0.0.1:7", "127.0.0.1:7"), ("[::1]:7", "[::1]:7")] {
            let ways = find_ways(&host.parse().unwrap()).await.unwrap();
            assert_eq!(ways.paths, [Path::new(remote.parse().unwrap())]);
            assert_eq!(ways.sockets.len(), 1);
        }
    }
}
