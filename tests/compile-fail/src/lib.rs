//! Nothing: a package needs a library to have its tests compiled against its dependencies. What the compiler is shown is in
//! `tests/ui`.
