//! What expansions call with a type: macros, since only at the user's own type does method look-up tell it apart.

/// Classifies a return type by method look-up.
#[doc(hidden)]
#[macro_export]
macro_rules! __shape {
    ($ret:ty) => {{
        #[allow(unused_imports)]
        use $crate::__private::{
            PeelNoArc as _, PeelNoOption as _, PeelNoResult as _, PeelResult as _, PeelWrapping as _,
        };
        $crate::__private::Probe::<$ret>::NEW.peel_result().peel_option().peel_arc()
    }};
}
pub use crate::__shape as shape;

/// [`shape`] of a function whose errors are kept.
#[doc(hidden)]
#[macro_export]
macro_rules! __keeping_shape {
    ($ret:ty) => {{
        #[allow(unused_imports)]
        use $crate::__private::{KeepErrors as _, KeepErrorsHere as _};
        $crate::__shape!($ret).keep_errors()
    }};
}
pub use crate::__keeping_shape as keeping_shape;

/// A shape of which no more is asked than one mistake explains.
#[doc(hidden)]
#[macro_export]
macro_rules! __gated {
    ($shape:expr) => {{
        #[allow(unused_imports)]
        use $crate::__private::{Gate as _, GateUnstorable as _};
        $shape.gate()
    }};
}
pub use crate::__gated as gated;

/// Whether an annotated function's result is a success, whatever its type.
#[doc(hidden)]
#[macro_export]
macro_rules! __succeeds {
    ($ret:expr) => {{
        #[allow(unused_imports)]
        use $crate::__private::{
            PeelNoArc as _, PeelNoOption as _, PeelNoResult as _, PeelResult as _, PeelWrapping as _,
        };
        let ret = $ret;
        $crate::__private::succeeded($crate::__private::Probe::of(&ret).peel_result().peel_option().peel_arc(), &ret)
    }};
}
pub use crate::__succeeds as succeeds;

/// Classifies a batch function's return type.
#[doc(hidden)]
#[macro_export]
macro_rules! __batch_shape {
    ($ret:ty) => {{
        #[allow(unused_imports)]
        use $crate::__private::{
            PeelBatch as _, PeelNoBatch as _, PeelNoBatchArc as _, PeelNoResult as _, PeelResult as _,
            PeelWrapping as _,
        };
        $crate::__private::Probe::<$ret>::NEW.peel_result().peel_batch().peel_arc()
    }};
}
pub use crate::__batch_shape as batch_shape;

/// What a return type is wrapped in, as a constant for signatures.
#[doc(hidden)]
#[macro_export]
macro_rules! __kind {
    ($ret:ty) => {{
        #[allow(unused_imports)]
        use $crate::__private::Fallback as _;
        $crate::__private::kind(
            <$crate::__private::Probe<$ret>>::RESULT,
            <$crate::__private::Probe<$ret>>::OPTION,
            <$crate::__private::Probe<$ret>>::ARC,
            <$crate::__private::Probe<$ret>>::JSON,
        )
    }};
}

/// [`__kind`](crate::__kind) of a batch function's elements.
#[doc(hidden)]
#[macro_export]
macro_rules! __batch_kind {
    ($ret:ty) => {{
        #[allow(unused_imports)]
        use $crate::__private::BatchFallback as _;
        $crate::__private::batch_kind(
            <$crate::__private::Probe<$ret>>::MAP,
            <$crate::__private::Probe<$ret>>::LIST,
            <$crate::__private::Probe<$ret>>::ELEMENT_OPTION,
            <$crate::__private::Probe<$ret>>::ELEMENT_ARC,
        )
    }};
}

/// What a function stores, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ValueOf {
    ($ret:ty) => {
        <$ret as $crate::__private::Outcome<{ $crate::__kind!($ret) }>>::Value
    };
}
pub use crate::__ValueOf as ValueOf;

/// How a function hands its value out, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __OutOf {
    ($ret:ty) => {
        <$ret as $crate::__private::Outcome<{ $crate::__kind!($ret) }>>::Out
    };
}
pub use crate::__OutOf as OutOf;

/// What a batch function stores per element, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ElementValueOf {
    ($ret:ty) => {
        <$ret as $crate::__private::BatchOutcome<{ $crate::__batch_kind!($ret) }>>::Value
    };
}
pub use crate::__ElementValueOf as ElementValueOf;

/// How a batch function hands an element out, in a signature.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ElementOutOf {
    ($ret:ty) => {
        <$ret as $crate::__private::BatchOutcome<{ $crate::__batch_kind!($ret) }>>::Out
    };
}
pub use crate::__ElementOutOf as ElementOutOf;

/// The shape of one element of a batch function, for its companion's verbs.
#[doc(hidden)]
#[macro_export]
macro_rules! __element_shape {
    ($ret:ty) => {
        $crate::__private::element($crate::__batch_shape!($ret))
    };
}
pub use crate::__element_shape as element_shape;

/// [`ValueOf`] in generic code.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __ValueOfGeneric {
    ($ret:ty) => {
        <$ret as $crate::__private::Declared>::Value
    };
}
pub use crate::__ValueOfGeneric as ValueOfGeneric;

/// [`OutOf`] in generic code.
#[doc(hidden)]
#[macro_export]
#[allow(non_snake_case)]
macro_rules! __OutOfGeneric {
    ($ret:ty) => {
        <$ret as $crate::__private::Declared>::Out
    };
}
pub use crate::__OutOfGeneric as OutOfGeneric;

/// Enters a site into the catalogue.
#[doc(hidden)]
#[macro_export]
macro_rules! __register {
    ($site:ident) => {
        $crate::__private::inventory::submit! { $crate::__private::Registered(&$site) }
    };
}
pub use crate::__register as register;
