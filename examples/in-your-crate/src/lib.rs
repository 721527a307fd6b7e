//! Your code: an operator, a CSI driver, a patch to nova.
