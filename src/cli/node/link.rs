//! `chat-node link`: another device for an account (CLI-24).

use std::path::Path;
use std::time::Duration;

use tokio::select;
use tokio::time::sleep;
use zeroize::Zeroizing;

use super::errand::{Going, Whose, rng};
use super::words;
use crate::chat::{LINK_LASTS_MAX_MS, LinkSecret, Name, visible};
use crate::cli::address::{ChatUrl, HostPort};
use crate::cli::args::{LinkArgs, NodeArgs};
use crate::cli::exit::{Code, Failure};
use crate::cli::signals::Signals;
use crate::cli::{files, invite};
use crate::client::{Errand, ErrandEvent};
use crate::profile::Profile;
use crate::profile::known_hosts::KnownHosts;
use crate::secure::NodeIdentity;

/// Makes a code, or uses one.
pub(super) async fn run(args: NodeArgs, link: LinkArgs) -> Result<Code, Failure> {
    match link.code {
        None => offer(&args, link.at).await,
        Some(code) => ask(args, code).await,
    }
}

// ---- the device that has the account

async fn offer(args: &NodeArgs, at: Option<HostPort>) -> Result<Code, Failure> {
    let mut signals = Signals::new().map_err(|error| {
        let message = format!("the system does not let it run: {error}");
        Failure::new(Code::Unavailable, message)
    })?;
    let whose = Whose::find(args)?;
    whose.check_own()?;
    let secret = LinkSecret::new(rng()?.bytes());
    let errand = Errand::Offer {
        secret: secret.clone(),
        lasts_ms: LINK_LASTS_MAX_MS,
    };
    let mut going = whose.go(errand).await?;
    let mut next = going.owed().await?;
    if next == Some(ErrandEvent::Offered) {
        show(&whose, at, secret)?;
    }
    let over = sleep(Duration::from_millis(LINK_LASTS_MAX_MS));
    tokio::pin!(over);
    loop {
        match next {
            Some(ErrandEvent::Linked(device)) => {
                let (name, device) = (visible(whose.name.as_str()), device.fingerprint());
                eprintln!(
                    "linked: this is a device of {name} now\n  {device}\n\
                     chat-node devices revoke {device}  takes that back"
                );
                going.finish().await?;
                return Ok(Code::Done);
            }
            None => return Ok(Code::Done),
            // Again, over another link; the code is the same.
            Some(_) => {}
        }
        next = select! {
            biased;
            () = signals.next() => {
                going.give_up().await;
                eprintln!("the code is no good any more");
                return Ok(Code::Interrupted);
            }
            () = &mut over => {
                going.give_up().await;
                let message = "nobody came within ten minutes: the code is no good any more";
                return Err(Failure::new(Code::Unavailable, message));
            }
            next = going.next() => next?,
        };
    }
}

fn show(whose: &Whose, at: Option<HostPort>, secret: LinkSecret) -> Result<(), Failure> {
    let broker = at.unwrap_or_else(|| whose.host.clone());
    let is_here = broker.host == "localhost"
        || broker
            .host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback());
    if is_here {
        eprintln!(
            "only this machine reaches the broker at {broker}; --at HOST:PORT says where others do"
        );
    }
    let url = ChatUrl {
        broker,
        room: None,
        key: Some(whose.key),
        invite: None,
        link: Some(secret),
    };
    invite::show(&url.to_string()).map_err(|error| Failure::file(Path::new("stdout"), &error))?;
    eprintln!(
        "within ten minutes, and once, this makes another device one of {}: there,\n  \
         chat-node link '{url}'\nwaiting for it; Ctrl-C takes the code back",
        visible(whose.name.as_str())
    );
    Ok(())
}

// ---- the new device

async fn ask(args: NodeArgs, code: ChatUrl) -> Result<Code, Failure> {
    let (Some(key), Some(secret)) = (code.key, code.link) else {
        let message = "this is no code that links a device: chat-node link makes one";
        return Err(Failure::new(Code::Usage, message));
    };
    let host = code.broker;
    let data_dir = files::data_dir(args.data_dir, "node")?;
    let hosts = KnownHosts::new(&data_dir);
    if let Some(remembered) = hosts.find(&host)?
        && remembered.key != key
    {
        let text = words::contradicting_url(&host, key, hosts.path(), remembered);
        return Err(Failure::new(Code::Refused, text));
    }
    let mut rng = rng()?;
    // The account is for this alone, and nobody ever hears of it again (DEV-4).
    let device = Zeroizing::new(rng.bytes());
    let asker = NodeIdentity::from_secrets(rng.bytes(), *device);
    let nobody = Name::new("nobody").map_err(|error| {
        // Not to be seen: it is a name.
        Failure::new(Code::Usage, error.to_string())
    })?;
    let mut going = Going::start(&host, (key, asker), nobody, Errand::Ask { secret }).await?;
    let Some(ErrandEvent::Granted {
        account,
        certificate,
        name,
    }) = going.owed().await?
    else {
        let message = "the broker has ended this without a word";
        return Err(Failure::new(Code::Unavailable, message));
    };
    going.finish().await?;
    let linked = NodeIdentity::linked(account, certificate, *device).ok_or_else(|| {
        let message = words::misunderstanding("a certificate that does not hold");
        Failure::new(Code::Unavailable, message)
    })?;
    let fingerprint = linked.device().fingerprint();
    hosts.remember(&host, key)?;
    Profile::link(&data_dir, &key, &name, linked).await?;
    let name = visible(name.as_str());
    eprintln!(
        "linked: this is a device of {name} now\n  {fingerprint}\n\
         chat-node --name '{name}' --broker {host}  begins to chat"
    );
    Ok(Code::Done)
}
