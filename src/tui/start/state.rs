//! What the start screen shows: what is offered, what is missing for it, the recorded sessions.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::actions::is_taken;
use super::form::{Asks, Form};
use crate::event::Nanos;
use crate::session::probed::Outages;
use crate::tui::glyphs::Markers;
use crate::tui::keys::{Action, Keymap};
use crate::tui::theme::Theme;

/// What is always offered, in the order of the screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The cockpit on the model.
    Demo,
    /// Two QEMU hosts and a guest on this machine.
    Lab,
    /// QEMUs that the person started.
    Attach,
    /// A ping target alone.
    Watch,
    /// A recorded session that is not in the list.
    Replay,
    /// What the keys do.
    Help,
    /// Leave.
    Quit,
}

/// The key that goes to the demo's next product.
pub(super) const PRODUCT_KEY: char = 'p';

/// An offer in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Offered {
    /// What is offered.
    pub offer: Offer,
    /// The key that takes it at once; None where it is an action's.
    pub key: Option<char>,
    /// Its name.
    pub name: &'static str,
    /// What it is, in a line.
    pub what: &'static str,
    /// What it is, in some more lines.
    pub about: &'static str,
    /// The command that does the same.
    pub command: &'static str,
}

/// The table of what is offered: keys, list, help and hints come from it.
pub static OFFERS: [Offered; 7] = [
    Offered {
        offer: Offer::Demo,
        key: Some('d'),
        name: "demo",
        what: "SIMULATED guest and hosts; needs nothing",
        about: "Every panel and key as with a real guest, on a page-exact model of guest, link and hypervisor. \
                All of it is marked SIMULATED, the capture too. Needs no QEMU, no network rights, no root.",
        command: "blackout demo",
    },
    Offered {
        offer: Offer::Lab,
        key: Some('l'),
        name: "lab",
        what: "a real guest between two QEMUs here",
        about: "Boots a Linux guest in one of two QEMU hosts on this machine, in a network of their own. You turn \
                the load, fire migrations between the two, and see how long the guest was really gone.",
        command: "blackout lab",
    },
    Offered {
        offer: Offer::Attach,
        key: Some('a'),
        name: "attach",
        what: "migrate between QEMUs you started",
        about: "Drives two QEMUs that you started, by their QMP sockets: the one the guest runs in, and the one it \
                is to move to, started with -incoming. Asks for the sockets and the guest's address.",
        command: "blackout migrate --source QMP --dest QMP --uri URI",
    },
    Offered {
        offer: Offer::Watch,
        key: Some('w'),
        name: "watch",
        what: "ping an address, see what is lost",
        about: "Pings an address twenty times a second and records it, whoever migrates what is behind it: every \
                lost reply, every gap, and how long it was. Asks for the address.",
        command: "blackout watch ADDRESS",
    },
    Offered {
        offer: Offer::Replay,
        key: Some('r'),
        name: "replay",
        what: "open a recorded session by its path",
        about: "Opens a capture in the same screen, to look at any instant again. Sessions recorded here are in \
                the list; for any other it asks for the path of its folder or file.",
        command: "blackout replay CAPTURE",
    },
    Offered {
        offer: Offer::Help,
        key: None,
        name: "help",
        what: "what the keys do here",
        about: "The keys of this screen. In a session the same key lists the keys of the session.",
        command: "blackout keys",
    },
    Offered {
        offer: Offer::Quit,
        key: None,
        name: "quit",
        what: "back to the shell",
        about: "Nothing has been started, so nothing has to be ended.",
        command: "",
    },
];

/// Something that stands in the way of the lab, or slows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What was looked at, in a word or two.
    pub name: String,
    /// What was found.
    pub found: String,
    /// The command that mends it.
    pub mend: String,
}

/// Whether the lab would start here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Lab {
    /// Not known yet.
    #[default]
    Checking,
    /// It would; what could be better.
    Ready(Vec<Lack>),
    /// It would not; what is missing, never empty.
    Missing(Vec<Lack>),
}

/// A recorded session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Its capture.
    pub capture: PathBuf,
    /// Its name.
    pub name: String,
    /// When it began, ns since the epoch.
    pub began_unix_ns: u64,
    /// How long it lasted, ns; None as long as that is unknown.
    pub duration_ns: Option<Nanos>,
    /// Size of its capture, bytes.
    pub bytes: u64,
    /// Whether its hypervisor was simulated.
    pub simulated: bool,
    /// What came of it.
    pub told: Told,
}

/// What came of a recorded session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Told {
    /// It is still to be read.
    #[default]
    Reading,
    /// It has been read.
    Known {
        /// How long the session lasted, ns.
        duration_ns: Nanos,
        /// How many migrations began.
        migrations: usize,
        /// The longest downtime, and the name of the estimator it is by; None where it is unknown.
        worst: Option<(&'static str, Duration)>,
        /// The outages its probes saw; None where nothing is known of any target.
        outages: Option<Outages>,
    },
    /// Why it has not been read.
    Unread(String),
}

/// The recorded sessions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sessions {
    /// They are still looked for.
    #[default]
    Looking,
    /// The newest ones, newest first.
    Found(Vec<Recent>),
    /// Why the folder cannot be read.
    Unreadable(String),
}

/// Something found out beside the screen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// Whether the lab would start.
    Lab(Lab),
    /// The recorded sessions.
    Sessions(Sessions),
    /// What came of the session at this place of the list.
    Told(usize, Told),
}

/// What was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// The demo, by the rules of this product; None for the one of the settings.
    Demo(Option<String>),
    /// The lab.
    Lab,
    /// What a form asked for; a text for each of its fields, empty where nothing was typed.
    Form(Asks, Vec<String>),
    /// A recorded session, by its capture.
    Recent(PathBuf),
}

/// A row of the list.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Row<'a> {
    /// Something that is always offered.
    Offer(&'static Offered),
    /// A recorded session and its place, from 0.
    Recent(usize, &'a Recent),
}

/// The start screen.
#[derive(Debug, Clone)]
pub struct Start {
    /// Styles.
    pub theme: Theme,
    /// Characters.
    pub markers: Markers,
    /// Which keys do what.
    pub keymap: Arc<Keymap>,
    /// Where sessions are recorded, for people.
    pub folder: String,
    /// The products that the demo knows the rules of; the first is that of the settings.
    pub products: Vec<String>,
    /// Which of them is chosen.
    pub product: usize,
    /// Whether the lab would start here.
    pub lab: Lab,
    /// The recorded sessions.
    pub sessions: Sessions,
    /// The selected row.
    pub selected: usize,
    /// What is being asked.
    pub form: Option<Form>,
    /// Whether the help is shown.
    pub help: bool,
    /// Whether the person has done anything: then the selection is theirs.
    pub(super) touched: bool,
}

impl Start {
    /// A screen that knows nothing yet.
    #[must_use]
    pub fn new(theme: Theme, markers: Markers, keymap: Arc<Keymap>, folder: String) -> Self {
        Self {
            theme,
            markers,
            keymap,
            folder,
            products: Vec::new(),
            product: 0,
            lab: Lab::Checking,
            sessions: Sessions::Looking,
            selected: 0,
            form: None,
            help: false,
            touched: false,
        }
    }

    /// Takes notice of what was found out. A lab that is ready is selected, unless the person has
    /// pressed a key meanwhile.
    pub fn hear(&mut self, news: News) {
        match news {
            News::Lab(lab) => {
                if matches!(lab, Lab::Ready(_)) && !self.touched {
                    self.selected = OFFERS.iter().position(|o| o.offer == Offer::Lab).unwrap_or(0);
                }
                self.lab = lab;
            }
            News::Sessions(sessions) => {
                self.sessions = sessions;
                self.selected = self.selected.min(self.rows() - 1);
            }
            News::Told(i, told) => {
                if let Sessions::Found(recent) = &mut self.sessions
                    && let Some(one) = recent.get_mut(i)
                {
                    if let Told::Known { duration_ns, .. } = told {
                        one.duration_ns = Some(duration_ns);
                    }
                    one.told = told;
                }
            }
        }
    }

    /// The recorded sessions, as far as they have been found.
    #[must_use]
    pub fn recent(&self) -> &[Recent] {
        match &self.sessions {
            Sessions::Found(recent) => recent,
            Sessions::Looking | Sessions::Unreadable(_) => &[],
        }
    }

    /// How many rows the list has.
    #[must_use]
    pub fn rows(&self) -> usize {
        OFFERS.len() + self.recent().len()
    }

    /// A row of the list.
    #[must_use]
    pub fn row(&self, at: usize) -> Option<Row<'_>> {
        match OFFERS.get(at) {
            Some(offered) => Some(Row::Offer(offered)),
            None => self.recent().get(at - OFFERS.len()).map(|r| Row::Recent(at - OFFERS.len(), r)),
        }
    }

    /// The key that takes a row at once, for people; empty where there is none, because the list has
    /// more than nine sessions or the person's keymap has it for something else here.
    #[must_use]
    pub fn key(&self, row: &Row<'_>) -> String {
        let letter = match row {
            Row::Offer(Offered { offer: Offer::Help, .. }) => return self.label(Action::Help),
            Row::Offer(Offered { offer: Offer::Quit, .. }) => return self.label(Action::Quit),
            Row::Offer(offered) => offered.key,
            Row::Recent(i, _) => char::from_digit(*i as u32 + 1, 10),
        };
        letter.filter(|c| !is_taken(&self.keymap, *c)).map_or_else(String::new, String::from)
    }

    /// The product that is chosen for the demo; None where none is known.
    #[must_use]
    pub fn product(&self) -> Option<&str> {
        self.products.get(self.product).map(String::as_str)
    }

    /// The key that goes to the demo's next product; None where there is none to go to, or the person's
    /// keymap has the key for something else here.
    #[must_use]
    pub fn product_key(&self) -> Option<char> {
        (self.products.len() > 1 && !is_taken(&self.keymap, PRODUCT_KEY)).then_some(PRODUCT_KEY)
    }

    /// The key of an action, for people.
    #[must_use]
    pub fn label(&self, action: Action) -> String {
        self.keymap.label_of(action, self.markers)
    }
}
