//! What becomes of texts that become vectors. PURE.

/// Scales a vector to length 1, so that dot products are cosines; one of length 0 stays.
pub fn normalize(values: &mut [f32]) {
    let length = values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if length > 0.0 {
        for value in values {
            #[expect(clippy::cast_possible_truncation, reason = "a share of the vector's length")]
            let scaled = (f64::from(*value) / length) as f32;
            *value = scaled;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::normalize;

    #[test]
    fn vectors_get_length_one() {
        let mut values = [3.0, -4.0];
        normalize(&mut values);
        assert!((values[0] - 0.6).abs() < 1e-6 && (values[1] + 0.8).abs() < 1e-6, "{values:?}");
        let mut nothing = [0.0; 3];
        normalize(&mut nothing);
        assert!(nothing.iter().all(|value| value.abs() < 1e-9));
    }
}
