//! Types that cannot be made a key part.
use cache_runtime::{KeyPart, resource};

#[derive(KeyPart)]
union Bits {
    a: u32,
    b: i32,
}

#[derive(KeyPart)]
enum Twice {
    #[key(rename = "B")]
    A,
    B,
}

#[derive(KeyPart)]
enum Wrong {
    #[key(name = "a")]
    A,
}

resource! { twice("twice", id: u64, id: u64); }

resource! { no_type("x", id); }

fn main() {}
