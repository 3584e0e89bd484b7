//! Where decoding is: a list of steps that lives on the stack, written out only when something is reported.

use crate::schema::Shape;

/// The way from the root of the object to a value.
#[derive(Clone, Copy)]
pub enum Path<'p> {
    Root,
    /// A named field; `of` is the type that has it (`PodSpec`).
    Field {
        up: &'p Path<'p>,
        name: &'p str,
        of: &'p str,
        shape: Shape,
    },
    /// A key of a map.
    Key {
        up: &'p Path<'p>,
        name: &'p str,
    },
    Index {
        up: &'p Path<'p>,
        at: usize,
    },
}

impl<'p> Path<'p> {
    fn up(&self) -> Option<&'p Path<'p>> {
        match *self {
            Self::Root => None,
            Self::Field { up, .. } | Self::Key { up, .. } | Self::Index { up, .. } => Some(up),
        }
    }
    fn steps(&self) -> Vec<&Path<'p>> {
        let mut steps = Vec::new();
        let mut here = Some(self);
        while let Some(step) = here {
            steps.push(step);
            here = step.up();
        }
        steps.reverse();
        steps
    }
    /// `spec.containers[0].image`, and one step more if there is a `last`, though it be empty.
    pub fn dotted(&self, last: Option<&str>) -> String {
        let mut out = String::new();
        for step in self.steps() {
            match step {
                Self::Root => {}
                Self::Field { name, .. } | Self::Key { name, .. } => push(&mut out, name),
                Self::Index { at, .. } => out.push_str(&format!("[{at}]")),
            }
        }
        if let Some(last) = last {
            push(&mut out, last);
        }
        out
    }
    /// How the field holds what is here, and whether this is the whole of it rather than one value of a list or map.
    pub fn shape(&self) -> (Shape, bool) {
        let mut whole = true;
        let mut here = Some(self);
        while let Some(step) = here {
            match step {
                Self::Field { shape, .. } => return (*shape, whole),
                _ => whole = false,
            }
            here = step.up();
        }
        (Shape::default(), whole)
    }
    /// Go's name of a field in a type error, `PodSpec.spec.containers.image`; none outside of any struct.
    pub fn go_field(&self) -> Option<String> {
        let mut innermost = None;
        let mut names = Vec::new();
        for step in self.steps() {
            if let Self::Field { name, of, shape, .. } = step {
                innermost = Some(*of);
                if !shape.way.is_empty() {
                    names.push(shape.way);
                }
                names.push(*name);
            }
        }
        innermost.map(|of| format!("{of}.{}", names.join(".")))
    }
}

fn push(out: &mut String, name: &str) {
    if !out.is_empty() {
        out.push('.');
    }
    out.push_str(name);
}
