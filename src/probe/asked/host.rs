//! Hosts and ports as they are written.

use std::net::Ipv6Addr;

use crate::text::visible;

/// A port, 1 to 65535.
pub(super) fn port(text: &str) -> Result<u16, String> {
    let port = text.parse::<u16>().ok().filter(|port| *port > 0 && text.bytes().all(|b| b.is_ascii_digit()));
    port.ok_or_else(|| format!("'{}' is no port: write a number from 1 to 65535", visible(text)))
}

/// A host as it stands before a port: without its brackets, which only an address of IPv6 has.
pub(super) fn bracketed(text: &str) -> Result<String, String> {
    match text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        Some(inner) if is_ipv6(inner) => Ok(inner.into()),
        Some(inner) => {
            Err(format!("'{}' is no address of IPv6, and only such a one stands in brackets", visible(inner)))
        }
        None if text.contains(':') => Err(format!(
            "'{}' is no host: put an address of IPv6 in brackets, for instance [2001:db8::1]",
            visible(text)
        )),
        None => Ok(text.into()),
    }
}

/// Whether it is an address of IPv6, perhaps with the device it is reached through.
pub(super) fn is_ipv6(text: &str) -> bool {
    let address = text.split_once('%').map_or(text, |(address, _)| address);
    address.parse::<Ipv6Addr>().is_ok()
}

/// A name or an address: whether there is such a one is not looked for here.
pub(super) fn host(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_alphanumeric() || ".-_:%".contains(c);
    if text.is_empty() {
        return Err("the host is missing: write a name, an address, or guest".into());
    }
    if text.len() > 253 || text.starts_with('-') || !text.chars().all(fits) {
        return Err(format!("'{}' is no name of a host and no address", visible(text)));
    }
    Ok(text.into())
}
