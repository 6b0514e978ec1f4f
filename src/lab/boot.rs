//! Bringing the guest up for the first time, on whatever accelerator works here.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::accel::{Accel, AccelChoice, Memory, Plan, Remembered, kvm_opens, plan};
use super::error::LabError;
use super::guest_config::MARK;
use super::host::{Host, Works, listens};
use crate::event::{Body, EventSink, LabEvent, Level, LogEvent};
use crate::text;
use crate::units::show_duration;

/// A guest on working KVM reports in after about a second; one that has not by then hangs.
const KVM_PATIENCE: Duration = Duration::from_secs(8);

pub(crate) fn step(sink: &EventSink, what: impl Into<String>) {
    sink.emit(Body::Lab(LabEvent::Step { what: what.into() }));
}

pub(crate) fn remark(sink: &EventSink, level: Level, text: impl Into<String>) {
    sink.emit(Body::Log(LogEvent { level, from: "lab".into(), text: text.into() }));
}

/// What is asked of a boot.
pub(crate) struct Boot<'a> {
    pub(crate) asked: AccelChoice,
    pub(crate) memory: &'a Memory,
    pub(crate) agent: SocketAddr,
    /// How long the guest may take to its agent under emulation.
    pub(crate) patience: Duration,
}

impl Boot<'_> {
    /// Boots the guest on host `name`, settling the machine's accelerator on the way. The host's
    /// generation is 1, or 2 after an accelerator that did not work.
    pub(crate) async fn run(&self, works: &mut Works, name: &str) -> Result<Host, LabError> {
        match plan(self.asked, kvm_opens(), self.memory.recall().as_ref()) {
            Plan::Only(accel, why) => {
                works.machine.accel = accel;
                let patience = if accel == Accel::Kvm { 2 * KVM_PATIENCE } else { self.patience };
                let host = self.attempt(works, name, 1, patience).await?;
                if self.asked == AccelChoice::Kvm {
                    self.memory.keep(Remembered { chosen: Accel::Kvm, why: "it came up when asked for".into() });
                }
                self.chosen(works, why);
                Ok(host)
            }
            Plan::TryKvm => {
                works.machine.accel = Accel::Kvm;
                step(&works.sink, format!("trying KVM (at most {})", show_duration(KVM_PATIENCE)));
                let why = match self.attempt(works, name, 1, KVM_PATIENCE).await {
                    Ok(host) => {
                        let why = "the guest came up with it".to_owned();
                        self.memory.keep(Remembered { chosen: Accel::Kvm, why: why.clone() });
                        self.chosen(works, why);
                        return Ok(host);
                    }
                    Err(e @ (LabError::Died { .. } | LabError::Silent { .. })) => {
                        remark(&works.sink, Level::Info, format!("KVM does not work here: {e}"));
                        format!("with KVM {}", e.gist())
                    }
                    Err(e) => return Err(e),
                };
                works.machine.accel = Accel::Tcg;
                step(&works.sink, "KVM does not work here, falling back to TCG");
                let host = self.attempt(works, name, 2, self.patience).await?;
                self.memory.keep(Remembered { chosen: Accel::Tcg, why: why.clone() });
                self.chosen(works, why);
                Ok(host)
            }
        }
    }

    fn chosen(&self, works: &Works, why: String) {
        let chosen = works.machine.accel.name().to_owned();
        works.sink.emit(Body::Lab(LabEvent::Accel { chosen, why }));
    }

    /// One boot. The guest's init must have said its first word within `patience`, and its agent
    /// must listen within the patience there is for emulation.
    async fn attempt(&self, works: &Works, name: &str, generation: u32, patience: Duration) -> Result<Host, LabError> {
        let began = Instant::now();
        step(&works.sink, format!("booting the guest on host {name} ({})", works.machine.accel.name()));
        let host = works.start(name, generation, false).await?;
        let mut serial = Serial::new(host.info.serial.clone());
        let mut last = "its init to start".to_owned();
        let mut agent_started = false;
        loop {
            for line in serial.new_lines() {
                step(&works.sink, format!("guest: {line}"));
                agent_started |= line.starts_with("agent started");
                last = format!("what comes after '{line}'");
            }
            if agent_started && listens(self.agent, Duration::from_millis(500)).await {
                host.watch(works.sink.clone());
                let boot = show_duration(began.elapsed());
                step(&works.sink, format!("the guest is up after {boot} ({})", works.machine.accel.name()));
                return Ok(host);
            }
            if host.ended() {
                return Err(host.died());
            }
            // Once its init has spoken the accelerator works, and the rest may take its time.
            let limit = if serial.spoke { patience.max(self.patience) } else { patience };
            if began.elapsed() > limit {
                return Err(LabError::Silent {
                    host: name.into(),
                    accel: works.machine.accel.name(),
                    waited: show_duration(limit),
                    why: format!("it was waiting for {last}"),
                    tail: host.files.tails(),
                });
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How much of an unfinished line of the guest's is kept, bytes.
const LINE_BYTES: usize = 16 << 10;

/// The guest's own lines on its serial line, as they come.
struct Serial {
    path: PathBuf,
    read: u64,
    rest: Vec<u8>,
    spoke: bool,
}

impl Serial {
    fn new(path: PathBuf) -> Self {
        Self { path, read: 0, rest: Vec::new(), spoke: false }
    }

    /// What init said since the last call, without its mark.
    fn new_lines(&mut self) -> Vec<String> {
        let Ok(new) = read_from(&self.path, self.read) else { return Vec::new() };
        self.read += new.len() as u64;
        self.rest.extend(new);
        // A console that writes without end and without a line break is not kept whole.
        if self.rest.len() > LINE_BYTES && !self.rest.contains(&b'\n') {
            self.rest.drain(..self.rest.len() - LINE_BYTES);
        }
        let mut lines = Vec::new();
        while let Some(end) = self.rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            // Others write to the console too, perhaps on the same line.
            if let Some((_, told)) = line.split_once(MARK) {
                lines.push(text::foreign(told.trim()));
            }
        }
        self.spoke |= !lines.is_empty();
        lines
    }
}

fn read_from(path: &Path, at: u64) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(at))?;
    let mut new = Vec::new();
    file.take(1 << 20).read_to_end(&mut new)?;
    Ok(new)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn the_guests_lines_are_told_from_the_kernels() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("serial");
        let mut serial = Serial::new(path.clone());
        assert!(serial.new_lines().is_empty());
        let mut file = File::create(&path).unwrap();
        file.write_all(b"[    0.1] something\r\nBLACKOUT-GUEST: init started\r\n[ 1.0] xBLACKOUT-GU").unwrap();
        assert_eq!(serial.new_lines(), ["init started"]);
        file.write_all(b"EST: network up\r\n").unwrap();
        assert_eq!(serial.new_lines(), ["network up"]);
        assert!(serial.spoke && serial.new_lines().is_empty());
        // Without a line break little is kept, and what a terminal would act on is written out.
        file.write_all(&vec![b'x'; 900_000]).unwrap();
        assert!(serial.new_lines().is_empty() && serial.rest.len() <= LINE_BYTES);
        file.write_all(b"\nBLACKOUT-GUEST: \x1b[2Jup\n").unwrap();
        assert_eq!(serial.new_lines(), ["\\x1b[2Jup"]);
    }
}
