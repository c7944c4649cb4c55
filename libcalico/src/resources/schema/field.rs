//! What a table of fields can say: the shape of a field, when it is left out, its default and its
//! rules. All of it is data, made by `const` functions that read like a declaration.

/// A field of an object.
pub(crate) struct Field {
    /// Its JSON name.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// When it isn't written.
    pub omit: Omit,
    /// What errors call it where upstream has a name for it; else its path.
    pub label: Option<&'static str>,
    /// What a write fills in.
    pub default: Option<Literal>,
    /// The rules of its value.
    pub checks: &'static [Check],
}

/// What a field holds.
pub(crate) enum Shape {
    /// Text. A number or a boolean becomes text.
    Text,
    /// True or false.
    Flag,
    /// A whole number in these bounds, which are those of Go's type.
    Whole(i64, i64),
    /// A number with or without a fraction.
    Number,
    /// An AS number: a number, `"64512"` or `"1.10"`; written as a number.
    AsNumber,
    /// A port: a number, a range `"1000:2000"` or a name.
    Port,
    /// A number below 256 or a name: a protocol, a DSCP.
    ByteOrName,
    /// A number or text, each as it is.
    NumberOrText,
    /// A duration in Go's spelling.
    Duration,
    /// A point in time, in RFC 3339.
    Time,
    /// Text by text, like labels.
    Map,
    /// A list of what the field describes; its name isn't used.
    List(&'static Field),
    /// An object with these fields.
    Object(&'static [Field]),
    /// Anything, as it is.
    Free,
}

/// When a field isn't written.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Omit {
    /// When it is false, 0 or empty.
    Zero,
    /// Only when it isn't there: Go has a pointer.
    Null,
    /// Never: what is left out is written as its zero value.
    Never,
}

/// A default.
pub(crate) enum Literal {
    /// Text.
    Text(&'static str),
    /// A whole number.
    Whole(i64),
}

/// A rule of a value.
pub(crate) enum Check {
    /// It must be there, and not empty.
    Required,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words in any letter case, or empty.
    AnyCase(&'static [&'static str]),
    /// Text of this form; the sentence says which.
    Form(fn(&str) -> bool, &'static str),
    /// A selector that can be read, of at most 1024 characters, without `global()`.
    Selector,
    /// At most so many characters.
    MaxLength(usize),
    /// A number in these bounds.
    Range(i64, i64),
    /// One of these numbers.
    Number(&'static [i64]),
    /// At least so many entries.
    MinItems(usize),
    /// At most so many entries.
    MaxItems(usize),
    /// No entry twice.
    Distinct,
    /// Labels of Kubernetes.
    Labels,
    /// Annotations of Kubernetes.
    Annotations,
    /// A port that can be: from 1, and a name only where names are allowed.
    Port,
    /// A protocol that is known.
    Protocol,
}

const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, omit: Omit::Zero, label: None, default: None, checks: &[] }
}

/// Text.
pub(crate) const fn text(name: &'static str) -> Field {
    field(name, Shape::Text)
}

/// A boolean.
pub(crate) const fn flag(name: &'static str) -> Field {
    field(name, Shape::Flag)
}

/// A whole number of 64 bits.
pub(crate) const fn int(name: &'static str) -> Field {
    field(name, Shape::Whole(i64::MIN, i64::MAX))
}

/// A whole number of 32 bits.
pub(crate) const fn int32(name: &'static str) -> Field {
    field(name, Shape::Whole(i32::MIN as i64, i32::MAX as i64))
}

/// A whole number from 0 to `max`.
pub(crate) const fn natural(name: &'static str, max: u32) -> Field {
    field(name, Shape::Whole(0, max as i64))
}

/// A number with or without a fraction.
pub(crate) const fn number(name: &'static str) -> Field {
    field(name, Shape::Number)
}

/// An AS number.
pub(crate) const fn as_number(name: &'static str) -> Field {
    field(name, Shape::AsNumber)
}

/// A port, a range of ports or the name of one.
pub(crate) const fn port(name: &'static str) -> Field {
    field(name, Shape::Port)
}

/// A small number or a name.
pub(crate) const fn byte_or_name(name: &'static str) -> Field {
    field(name, Shape::ByteOrName)
}

/// A number or text.
pub(crate) const fn number_or_text(name: &'static str) -> Field {
    field(name, Shape::NumberOrText)
}

/// A duration.
pub(crate) const fn duration(name: &'static str) -> Field {
    field(name, Shape::Duration)
}

/// A point in time.
pub(crate) const fn time(name: &'static str) -> Field {
    field(name, Shape::Time)
}

/// Text by text.
pub(crate) const fn map(name: &'static str) -> Field {
    field(name, Shape::Map)
}

/// A list.
pub(crate) const fn list(name: &'static str, entry: &'static Field) -> Field {
    field(name, Shape::List(entry))
}

/// An object.
pub(crate) const fn object(name: &'static str, fields: &'static [Field]) -> Field {
    field(name, Shape::Object(fields))
}

/// Anything.
pub(crate) const fn free(name: &'static str) -> Field {
    field(name, Shape::Free)
}

/// What stands in a list: text without rules.
pub(crate) const TEXT: &Field = &text("");

impl Field {
    /// Written whenever it is there, even when it is false, 0 or empty.
    pub const fn kept(self) -> Field {
        Field { omit: Omit::Null, ..self }
    }

    /// Always written.
    pub const fn always(self) -> Field {
        Field { omit: Omit::Never, ..self }
    }

    /// What errors call it.
    pub const fn called(self, label: &'static str) -> Field {
        Field { label: Some(label), ..self }
    }

    /// Its rules.
    pub const fn checked(self, checks: &'static [Check]) -> Field {
        Field { checks, ..self }
    }

    /// What a write fills in.
    pub const fn or_text(self, default: &'static str) -> Field {
        Field { default: Some(Literal::Text(default)), ..self }
    }

    /// What a write fills in.
    pub const fn or_whole(self, default: i64) -> Field {
        Field { default: Some(Literal::Whole(default)), ..self }
    }
}
