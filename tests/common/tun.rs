//! A target of probes made of a TUN device: what it answers is decided packet by packet. It lives in a user and
//! network namespace that the test makes for itself.
#![allow(unsafe_code, reason = "one ioctl that makes the device")]

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

/// Whether this process is inside a namespace of its own; if not, the test of that name is run again in one and
/// must pass there. Skipped where no namespace can be made.
pub fn inside(test: &str) -> bool {
    const MARK: &str = "BLACKOUT_TEST_INSIDE";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let unshare = ["--user", "--map-root-user", "--net", "--"];
    let possible = Command::new("unshare").args(unshare).arg("true").stderr(Stdio::null()).status();
    if !possible.is_ok_and(|s| s.success()) || !std::path::Path::new("/dev/net/tun").exists() {
        super::skipped("no network namespace with a TUN device can be made here");
        return false;
    }
    let ran = Command::new("unshare")
        .args(unshare)
        .arg(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(MARK, "1")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success(), "{}\n{}", text(&ran.stdout), text(&ran.stderr));
    false
}

/// Runs `ip`.
pub fn ip(args: &str) {
    let done = Command::new("ip").args(args.split_whitespace()).status().unwrap();
    assert!(done.success(), "ip {args}");
}

type Answer = Box<dyn FnMut(&Packet) -> Vec<Packet> + Send>;

/// 10.99.0.0/24 and fd99::/64, answered to as last said.
pub struct Tun {
    answer: Arc<Mutex<Answer>>,
}

impl Tun {
    pub fn open(name: &str) -> Self {
        let mut file = OpenOptions::new().read(true).write(true).open("/dev/net/tun").unwrap();
        set_up(&file, name);
        ip("link set lo up");
        ip(&format!("addr add 10.99.0.1/24 dev {name}"));
        ip(&format!("-6 addr add fd99::1/64 dev {name} nodad"));
        ip(&format!("link set {name} up"));
        let nothing: Answer = Box::new(|_| Vec::new());
        let answer = Arc::new(Mutex::new(nothing));
        let told = Arc::clone(&answer);
        std::thread::spawn(move || {
            let mut buf = [0; 2048];
            loop {
                let Ok(n) = file.read(&mut buf) else {
                    // The device is down for a while.
                    std::thread::sleep(std::time::Duration::from_millis(1));
                    continue;
                };
                let Some(request) = Packet::request(&buf[..n]) else { continue };
                for packet in (told.lock().unwrap())(&request) {
                    let _ = file.write_all(&packet.bytes());
                }
            }
        });
        Self { answer }
    }

    /// What is answered from now on.
    pub fn answer(&self, answer: impl FnMut(&Packet) -> Vec<Packet> + Send + 'static) {
        *self.answer.lock().unwrap() = Box::new(answer);
    }
}

fn set_up(tun: &File, name: &str) {
    const IFF_TUN_NO_PI: i16 = 0x1001;
    nix::ioctl_write_ptr_bad!(set_interface, 0x4004_54ca, [u8; 40]);
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    request[16..18].copy_from_slice(&IFF_TUN_NO_PI.to_ne_bytes());
    // SAFETY: TUNSETIFF reads a `struct ifreq`, which has 40 bytes, from a place that outlives the call.
    unsafe { set_interface(tun.as_raw_fd(), &request) }.unwrap();
}

/// An ICMP packet.
#[derive(Debug, Clone)]
pub struct Packet {
    src: IpAddr,
    dst: IpAddr,
    icmp: Vec<u8>,
    right_checksum: bool,
}

impl Packet {
    /// An echo request as it was read from the device.
    fn request(bytes: &[u8]) -> Option<Self> {
        let (src, dst, icmp, kind): (IpAddr, IpAddr, _, _) = match bytes.first()? >> 4 {
            4 if bytes[9] == 1 => {
                let four = |at: usize| <[u8; 4]>::try_from(&bytes[at..at + 4]).unwrap();
                (four(12).into(), four(16).into(), &bytes[usize::from(bytes[0] & 15) * 4..], 8)
            }
            6 if bytes[6] == 58 => {
                let sixteen = |at: usize| <[u8; 16]>::try_from(&bytes[at..at + 16]).unwrap();
                (sixteen(8).into(), sixteen(24).into(), &bytes[40..], 128)
            }
            _ => return None,
        };
        (icmp[0] == kind).then(|| Self { src, dst, icmp: icmp.to_vec(), right_checksum: true })
    }

    pub fn is_v4(&self) -> bool {
        self.src.is_ipv4()
    }

    /// The type "destination unreachable" has.
    pub fn unreachable(&self) -> u8 {
        if self.is_v4() { 3 } else { 1 }
    }

    /// The answer to it.
    pub fn reply(&self) -> Self {
        let mut icmp = self.icmp.clone();
        icmp[0] = if self.is_v4() { 0 } else { 129 };
        Self { src: self.dst, dst: self.src, icmp, right_checksum: true }
    }

    /// From another address.
    pub fn from(mut self, src: IpAddr) -> Self {
        self.src = src;
        self
    }

    /// With no more than `n` bytes.
    pub fn cut(mut self, n: usize) -> Self {
        self.icmp.truncate(n);
        self
    }

    /// With a bit changed in the byte at `at`.
    pub fn flip(mut self, at: usize) -> Self {
        self.icmp[at] ^= 1;
        self
    }

    pub fn wrong_checksum(mut self) -> Self {
        self.right_checksum = false;
        self
    }

    /// An ICMP error from the gateway that quotes `quoted` bytes of the request.
    pub fn error(&self, kind: u8, code: u8, quoted: usize) -> Self {
        self.error_about(kind, code, &self.icmp[..quoted.min(self.icmp.len())])
    }

    /// One that quotes all that can be guessed, and makes the token up.
    pub fn forged_error(&self, kind: u8, code: u8) -> Self {
        let mut made_up = self.icmp.clone();
        made_up[16..24].fill(0x5a);
        self.error_about(kind, code, &made_up)
    }

    fn error_about(&self, kind: u8, code: u8, quoted: &[u8]) -> Self {
        let mut icmp = vec![kind, code, 0, 0, 0, 0, 0, 0];
        icmp.extend(header(self.src, self.dst, self.icmp.len()));
        icmp.extend(quoted);
        let gateway: IpAddr = if self.is_v4() { [10, 99, 0, 254].into() } else { "fd99::254".parse().unwrap() };
        Self { src: gateway, dst: self.src, icmp, right_checksum: true }
    }

    /// As it goes onto the device.
    pub fn bytes(&self) -> Vec<u8> {
        let mut icmp = self.icmp.clone();
        icmp[2..4].fill(0);
        let mut summed = Vec::new();
        if let (IpAddr::V6(src), IpAddr::V6(dst)) = (self.src, self.dst) {
            summed.extend(src.octets());
            summed.extend(dst.octets());
            summed.extend((icmp.len() as u32).to_be_bytes());
            summed.extend([0, 0, 0, 58]);
        }
        summed.extend(&icmp);
        let sum = checksum(&summed) ^ u16::from(!self.right_checksum);
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = header(self.src, self.dst, icmp.len());
        bytes.extend(icmp);
        bytes
    }
}

fn header(src: IpAddr, dst: IpAddr, payload: usize) -> Vec<u8> {
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let mut b = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 1, 0, 0];
            b[2..4].copy_from_slice(&(20 + payload as u16).to_be_bytes());
            b.extend(src.octets());
            b.extend(dst.octets());
            let sum = checksum(&b).to_be_bytes();
            b[10..12].copy_from_slice(&sum);
            b
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let mut b = vec![0x60, 0, 0, 0, 0, 0, 58, 64];
            b[4..6].copy_from_slice(&(payload as u16).to_be_bytes());
            b.extend(src.octets());
            b.extend(dst.octets());
            b
        }
        _ => panic!("two families"),
    }
}

fn checksum(b: &[u8]) -> u16 {
    let words = b.chunks(2).map(|c| u32::from(c[0]) << 8 | u32::from(c.get(1).copied().unwrap_or(0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
