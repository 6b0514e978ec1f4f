use std::io;

use proptest::prelude::*;

use super::*;

/// A disk that does what a script says: for each write how many bytes it takes, or that it fails;
/// it also leaves rubbish behind, as a disk may.
#[derive(Clone, Default)]
struct Rotten {
    file: Arc<Mutex<Vec<u8>>>,
    script: Arc<Mutex<VecDeque<Fate>>>,
}

#[derive(Debug, Clone, Copy)]
enum Fate {
    Takes(usize),
    Fails,
    FailsLeaving(usize),
    NoOpen,
    NoCut,
}

impl Rotten {
    fn fate(&self) -> Option<Fate> {
        lock(&self.script).pop_front()
    }

    fn put(&self, bytes: &[u8], offset: u64) {
        let mut file = lock(&self.file);
        let (from, to) = (offset as usize, offset as usize + bytes.len());
        assert!(from <= file.len(), "a hole in the file");
        if file.len() < to {
            file.resize(to, 0);
        }
        file[from..to].copy_from_slice(bytes);
    }
}

fn full() -> io::Error {
    io::Error::from_raw_os_error(nix::libc::ENOSPC)
}

impl Medium for Rotten {
    fn path(&self) -> PathBuf {
        "rotten".into()
    }

    fn open(&mut self) -> io::Result<()> {
        match self.fate() {
            Some(Fate::NoOpen | Fate::Fails) => Err(full()),
            _ => Ok(()),
        }
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        match self.fate() {
            Some(Fate::Takes(n)) => {
                let n = n.min(bytes.len());
                self.put(&bytes[..n], offset);
                Ok(n)
            }
            Some(Fate::FailsLeaving(n)) => {
                self.put(&bytes[..n.min(bytes.len())], offset);
                Err(io::Error::from_raw_os_error(nix::libc::EIO))
            }
            Some(_) => Err(full()),
            None => {
                self.put(bytes, offset);
                Ok(bytes.len())
            }
        }
    }

    fn cut(&mut self, len: u64) -> io::Result<()> {
        if let Some(Fate::NoCut) = self.fate() {
            return Err(full());
        }
        lock(&self.file).truncate(len as usize);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.fate() {
            Some(Fate::Fails) => Err(full()),
            _ => Ok(()),
        }
    }
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0_usize..40).prop_map(Fate::Takes),
        2 => Just(Fate::Fails),
        2 => (0_usize..40).prop_map(Fate::FailsLeaving),
        1 => Just(Fate::NoOpen),
        1 => Just(Fate::NoCut),
    ]
}

proptest! {
    #[test]
    fn a_rotten_disk_gets_whole_lines_in_order_or_nothing(
        script in proptest::collection::vec(fate(), 0..60),
        lengths in proptest::collection::vec(0_usize..30, 1..40),
    ) {
        let disk = Rotten { script: Arc::new(Mutex::new(script.into())), ..Rotten::default() };
        let mut writer = Writer::new(disk.clone());
        let mut all = Vec::new();
        let (mut bytes, mut lines) = (0_u64, 0_u64);
        for (i, length) in lengths.iter().enumerate() {
            let line = format!("{i}{}\n", "x".repeat(*length));
            all.extend_from_slice(line.as_bytes());
            writer.take(line.into_bytes());
            let result = writer.pump(|b, l| {
                bytes = bytes.wrapping_add(b);
                lines += l;
            });
            prop_assert_eq!(result.is_err(), writer.troubled());
            prop_assert!(result.is_err() || writer.whole_bytes() == all.len() as u64);
            // What counts as written is whole lines, is there, and is what was told.
            let whole = writer.whole_bytes() as usize;
            prop_assert!(whole == 0 || all[whole - 1] == b'\n');
            prop_assert_eq!(&lock(&disk.file)[..whole], &all[..whole]);
            prop_assert_eq!((bytes, lines), (whole as u64, writer.lines()));
        }
        lock(&disk.script).clear();
        let result = writer.pump(|_, _| ());
        prop_assert!(result.is_ok());
        prop_assert_eq!(&*lock(&disk.file), &all);
        prop_assert_eq!(writer.lines(), lengths.len() as u64);
    }
}

#[test]
fn trouble_and_recovery_are_told_once() {
    let header = crate::session::testing::header();
    let disk = Rotten { script: Arc::new(Mutex::new(vec![Fate::Fails; 3].into())), ..Rotten::default() };
    let recorder = Recorder::start_on(disk.clone(), &header, 1 << 20);
    recorder.push(b"1\n", Urgency::Usual);
    recorder.push(b"2\n", Urgency::Sync);
    let status = recorder.finish(Duration::from_secs(60));
    assert_eq!((status.trouble, status.ever_troubled, status.backlog, status.events), (None, true, 0, 2));
    let why = "rotten: No space left on device (os error 28)".to_owned();
    assert_eq!(recorder.take_change(), Some(Change::Trouble(why)));
    assert_eq!(recorder.take_change(), Some(Change::Recovered { kept: 2 }));
    assert_eq!(recorder.take_change(), None);
    assert!(lock(&disk.file).ends_with(b"}\n1\n2\n"));
}

#[test]
fn the_backlog_outlasts_a_minute_of_a_stalled_disk() {
    // The arithmetic of this room's head, with the largest usual record of each source.
    let probe = r#"{"t":3599999999999,"ev":{"probe":{"ok":{"id":0,"k":3599999,"sent":3599999000000,"rtt":999999}}}}"#;
    let per_second = 1_000 * (probe.len() as u64 + 1) + 100 * 90 + 30 * 1_536;
    assert!(RecorderOptions::default().backlog_bytes / per_second >= 60);
    assert!(crate::session::live::HUB_EVENTS as u64 / 1_200 >= 60);
}
