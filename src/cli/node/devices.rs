//! `chat-node devices`: which devices an account has (CLI-25).

use super::errand::Whose;
use crate::chat::{DeviceEntry, visible};
use crate::cli::args::{DevicesArgs, DevicesTask, NodeArgs};
use crate::cli::devices::{pick, print};
use crate::cli::exit::{Code, Failure};
use crate::client::{Errand, ErrandEvent};

/// Lists the devices, or revokes one.
pub(super) async fn run(args: NodeArgs, devices: DevicesArgs) -> Result<Code, Failure> {
    let whose = Whose::find(&args)?;
    match devices.task {
        None => {
            let listed = list(&whose).await?;
            print(&listed, Some(whose.identity.device()))
        }
        Some(DevicesTask::Revoke { fingerprint }) => revoke(&whose, &fingerprint).await,
    }
}

async fn list(whose: &Whose) -> Result<Vec<DeviceEntry>, Failure> {
    let mut going = whose.go(Errand::List).await?;
    let listed = match going.owed().await? {
        Some(ErrandEvent::Devices(devices)) => devices,
        _ => Vec::new(),
    };
    going.finish().await?;
    Ok(listed)
}

async fn revoke(whose: &Whose, fingerprint: &str) -> Result<Code, Failure> {
    whose.check_own()?;
    let listed = list(whose).await?;
    let entry = pick(&listed, fingerprint)?;
    let (name, device) = (visible(whose.name.as_str()), entry.device);
    if device == whose.identity.device() {
        let message = "this is the device that you are at: nothing was revoked";
        return Err(Failure::new(Code::Usage, message));
    }
    let mut going = whose.go(Errand::Revoke { device }).await?;
    while let Some(event) = going.owed().await? {
        if event == ErrandEvent::Revoked(device) {
            eprintln!(
                "{} speaks for {name} no more; what it said stays",
                device.fingerprint()
            );
        }
    }
    Ok(Code::Done)
}
