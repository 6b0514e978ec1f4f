//! Interfaces, addresses and neighbours, by name, over rtnetlink.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoData, LinkAttribute};
use rtnetlink::{Handle, LinkBridge, LinkUnspec};
use tokio::task::JoinHandle;

use super::guest_config::Addresses;

/// A connection to the kernel's routing socket of the current network namespace.
#[derive(Debug)]
pub(crate) struct Links {
    handle: Handle,
    task: JoinHandle<()>,
}

impl Drop for Links {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Links {
    /// Opens it; needs a tokio runtime with I/O.
    pub(crate) fn open() -> std::io::Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()?;
        Ok(Self { handle, task: tokio::spawn(connection) })
    }

    /// The index of an interface; None if there is none of that name.
    pub(crate) async fn index(&self, name: &str) -> Result<Option<u32>, String> {
        match self.handle.link().get().match_name(name.to_owned()).execute().try_next().await {
            Ok(link) => Ok(link.map(|l| l.header.index)),
            Err(rtnetlink::Error::NetlinkError(e)) if e.raw_code() == -(nix::libc::ENODEV) => Ok(None),
            Err(e) => Err(format!("cannot look for {name}: {e}")),
        }
    }

    async fn known(&self, name: &str) -> Result<u32, String> {
        self.index(name).await?.ok_or_else(|| format!("there is no interface {name}"))
    }

    /// Sets an interface up.
    pub(crate) async fn up(&self, name: &str) -> Result<(), String> {
        let index = self.known(name).await?;
        let set = self.handle.link().set(LinkUnspec::new_with_index(index).up().build());
        set.execute().await.map_err(|e| format!("cannot set {name} up: {e}"))
    }

    /// Makes a bridge that forwards from the first frame on, with a hardware address that does
    /// not change with its ports (a changed one would leave the guest sending to the old).
    pub(crate) async fn bridge(&self, name: &str, mac: [u8; 6]) -> Result<(), String> {
        let quiet = vec![InfoBridge::ForwardDelay(0), InfoBridge::MulticastSnooping(false)];
        let bridge = LinkBridge::new(name).set_info_data(InfoData::Bridge(quiet)).address(mac.to_vec());
        self.handle
            .link()
            .add(bridge.build())
            .execute()
            .await
            .map_err(|e| format!("cannot make the bridge {name}: {e}"))
    }

    /// Gives an interface its addresses (/24 and /64).
    pub(crate) async fn address(&self, name: &str, to: &Addresses) -> Result<(), String> {
        let index = self.known(name).await?;
        let v6 = to.v6.map(|a| (IpAddr::V6(a), 64));
        for (address, prefix) in [(IpAddr::V4(to.v4), 24)].into_iter().chain(v6) {
            let add = self.handle.address().add(index, address, prefix);
            add.execute().await.map_err(|e| format!("cannot give {name} the address {address}/{prefix}: {e}"))?;
        }
        Ok(())
    }

    /// Makes a neighbour known for good, so that no address resolution takes part in what is
    /// measured: an entry that goes stale in a blackout would turn lost replies into send errors.
    pub(crate) async fn neighbour(&self, name: &str, of: &Addresses) -> Result<(), String> {
        let index = self.known(name).await?;
        for address in [Some(IpAddr::V4(of.v4)), of.v6.map(IpAddr::V6)].into_iter().flatten() {
            let add = self.handle.neighbours().add(index, address).link_layer_address(&of.mac).replace();
            add.execute().await.map_err(|e| format!("cannot make {address} known on {name}: {e}"))?;
        }
        Ok(())
    }

    /// Puts an interface on a bridge and sets it up. It gets no addresses of its own.
    pub(crate) async fn enslave(&self, name: &str, bridge: &str) -> Result<(), String> {
        let (index, bridge_index) = (self.known(name).await?, self.known(bridge).await?);
        let no_address = vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(In6AddrGenMode::None)])];
        let quiet =
            LinkUnspec::new_with_index(index).append_extra_attribute(LinkAttribute::AfSpecUnspec(no_address)).build();
        // Without IPv6 in the kernel there is nothing to keep quiet.
        let _ = self.handle.link().set(quiet).execute().await;
        let set = LinkUnspec::new_with_index(index).controller(bridge_index).up().build();
        self.handle.link().set(set).execute().await.map_err(|e| format!("cannot put {name} on {bridge}: {e}"))
    }

    /// Waits until an interface exists; false when `give_up` says so first.
    pub(crate) async fn appears(&self, name: &str, mut give_up: impl FnMut() -> bool) -> Result<bool, String> {
        loop {
            if self.index(name).await?.is_some() {
                return Ok(true);
            }
            if give_up() {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
