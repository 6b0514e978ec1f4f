//! What can be said of a target: each field once, for the file, the flags, the help and the errors.

/// One field of a target.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Field {
    /// Its name in the file; as a flag, `--name`.
    pub(crate) name: &'static str,
    /// What it is, in a line.
    pub(crate) what: &'static str,
    /// What stands for its value in help, e.g. `SIZE`.
    pub(crate) value: &'static str,
    /// A value as it might be.
    pub(crate) example: &'static str,
    /// Its value where none is given.
    pub(crate) default: Option<&'static str>,
    /// Whether there is no target without it.
    pub(crate) required: bool,
    /// Whether most targets have it, though it need not be there.
    pub(crate) usual: bool,
    /// What a value of it looks like in TOML.
    pub(crate) shape: Shape,
    /// Says what is wrong with a value.
    pub(crate) check: fn(&str) -> Result<(), String>,
}

/// What a value looks like in TOML.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A text, or a number; its meaning is the field's own.
    Text,
    /// A secret: the field itself is never written, only where it is found: `NAME-file`, `NAME-env` or
    /// `NAME-command`.
    Secret,
    /// A list of texts: each is checked by itself. No flag is made of it.
    List,
    /// Whatever the product itself reads: a list or a table, too.
    Any,
}

/// Where a secret may be found: the ends of a secret's fields.
pub(crate) const SECRET_FROM: [(&str, &str); 3] = [
    ("file", "a file that holds it"),
    ("env", "a variable of the environment"),
    ("command", "a command that prints it"),
];

impl Field {
    /// A field that need not be given.
    pub(crate) const fn new(
        name: &'static str,
        value: &'static str,
        what: &'static str,
        example: &'static str,
    ) -> Self {
        Self {
            name,
            what,
            value,
            example,
            default: None,
            required: false,
            usual: false,
            shape: Shape::Text,
            check: anything,
        }
    }

    /// The same, which has to be given.
    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    /// The same, which most targets have.
    pub(crate) const fn usual(self) -> Self {
        Self { usual: true, ..self }
    }

    /// The same with a value where none is given.
    pub(crate) const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// The same with what is wrong with a value.
    pub(crate) const fn checked(self, check: fn(&str) -> Result<(), String>) -> Self {
        Self { check, ..self }
    }

    /// The same, of another shape.
    pub(crate) const fn shaped(self, shape: Shape) -> Self {
        Self { shape, ..self }
    }

    /// The names it is written under.
    pub(crate) fn keys(&self) -> Vec<String> {
        match self.shape {
            Shape::Secret => SECRET_FROM.iter().map(|(from, _)| format!("{}-{from}", self.name)).collect(),
            Shape::Text | Shape::List | Shape::Any => vec![self.name.into()],
        }
    }

    /// How it might be written.
    pub(crate) fn written(&self) -> String {
        match self.shape {
            Shape::Secret => format!("{}-file = \"{}\"", self.name, self.example),
            Shape::Text if self.example.bytes().all(|b| b.is_ascii_digit()) => {
                format!("{} = {}", self.name, self.example)
            }
            Shape::Text => format!("{} = \"{}\"", self.name, self.example),
            Shape::List | Shape::Any => format!("{} = {}", self.name, self.example),
        }
    }
}

fn anything(_: &str) -> Result<(), String> {
    Ok(())
}
