//! The command line: `--name value` pairs. Names that a role does not know are ignored, because the
//! programs that this one runs beside have options for what it does not have.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use crate::Result;

/// The options given.
pub struct Opts(BTreeMap<String, String>);

impl Opts {
    /// Reads `arguments`.
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = BTreeMap::new();
        for pair in arguments.chunks(2) {
            let [name, value] = pair else {
                return Err(format!("{} needs a value", pair[0]).into());
            };
            let Some(name) = name.strip_prefix("--") else {
                return Err(format!("{name}: an option begins with --").into());
            };
            options.insert(name.to_owned(), value.clone());
        }
        Ok(Self(options))
    }

    /// The value of `name`, or `default`.
    pub fn text<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.0.get(name).map_or(default, String::as_str)
    }

    /// The number `name`, or `default`.
    pub fn number<T: FromStr>(&self, name: &str, default: T) -> Result<T> {
        let Some(value) = self.0.get(name) else {
            return Ok(default);
        };
        value
            .parse()
            .map_err(|_| format!("--{name} {value}: not a number of this kind").into())
    }

    /// The numbers `name`, separated by commas; or those of `default`.
    pub fn numbers<T: FromStr>(&self, name: &str, default: &str) -> Result<Vec<T>> {
        let list = self.text(name, default).split(',');
        let numbers: std::result::Result<Vec<T>, _> = list.map(str::parse).collect();
        numbers.map_err(|_| format!("--{name}: not a list of numbers").into())
    }

    /// The address `name`: on this machine, or in the range that is reserved for measurements.
    pub fn address(&self, name: &str, default: &str) -> Result<SocketAddr> {
        let address: SocketAddr = self.text(name, default).parse()?;
        let is_allowed = match address.ip() {
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                ip.is_loopback() || ip.is_unspecified() || (a == 198 && (b & !1) == 18)
            }
            IpAddr::V6(_) => false,
        };
        if is_allowed {
            Ok(address)
        } else {
            Err(format!("{address}: only 127.0.0.0/8 and 198.18.0.0/15 are measured").into())
        }
    }
}
