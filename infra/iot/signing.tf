# Keys that sign container images, break-glass tickets, release sets and images of the
# operating system. Only the public halves leave KMS. One key has one role.

resource "aws_kms_key" "signing" {
  # checkov:skip=CKV_AWS_7: KMS does not rotate asymmetric keys; docs/cloud.md describes the rotation
  # checkov:skip=CKV_AWS_227: an operator disables a key by its variable
  for_each                 = var.signing_keys
  description              = "edge-ai: container signing (${each.key})"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "ECC_NIST_P256"
  is_enabled               = each.value.enabled
  deletion_window_in_days  = 30
  policy = templatefile("${path.module}/policies/signing-key.json.tftpl", {
    root    = local.root
    signers = jsonencode(var.signers)
  })
  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_alias" "signing" {
  name          = "alias/edge-container-signing"
  target_key_id = aws_kms_key.signing[var.current_signing_key].key_id
}

data "aws_kms_public_key" "signing" {
  for_each = { for name, key in var.signing_keys : name => key if key.trusted && key.enabled }
  key_id   = aws_kms_key.signing[each.key].arn
}

resource "aws_kms_key" "engineer_signing" {
  # checkov:skip=CKV_AWS_7: KMS does not rotate asymmetric keys; docs/cloud.md describes the rotation
  # checkov:skip=CKV_AWS_227: an operator disables a key by its variable
  for_each                 = var.engineer_signing_keys
  description              = "edge-ai: break-glass tickets (${each.key})"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "ECC_NIST_P256"
  is_enabled               = each.value.enabled
  deletion_window_in_days  = 30
  policy = templatefile("${path.module}/policies/signing-key.json.tftpl", {
    root    = local.root
    signers = jsonencode(var.ticket_signers)
  })
  lifecycle {
    prevent_destroy = true
  }
}

# None while tickets are switched off.
resource "aws_kms_alias" "engineer_signing" {
  count         = var.current_engineer_signing_key == null ? 0 : 1
  name          = "alias/edge-engineer-signing"
  target_key_id = aws_kms_key.engineer_signing[var.current_engineer_signing_key].key_id
}

data "aws_kms_public_key" "engineer_signing" {
  for_each = { for name, key in var.engineer_signing_keys : name => key if key.trusted && key.enabled }
  key_id   = aws_kms_key.engineer_signing[each.key].arn
}

resource "aws_kms_key" "set_signing" {
  # checkov:skip=CKV_AWS_7: KMS does not rotate asymmetric keys; docs/cloud.md describes the rotation
  # checkov:skip=CKV_AWS_227: an operator disables a key by its variable
  for_each                 = var.set_signing_keys
  description              = "edge-ai: release sets (${each.key})"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "ECC_NIST_P256"
  is_enabled               = each.value.enabled
  deletion_window_in_days  = 30
  policy = templatefile("${path.module}/policies/signing-key.json.tftpl", {
    root    = local.root
    signers = jsonencode(var.set_signers)
  })
  lifecycle {
    prevent_destroy = true
  }
}

# None while sets are signed offline or not at all.
resource "aws_kms_alias" "set_signing" {
  count         = var.current_set_signing_key == null ? 0 : 1
  name          = "alias/edge-set-signing"
  target_key_id = aws_kms_key.set_signing[var.current_set_signing_key].key_id
}

data "aws_kms_public_key" "set_signing" {
  for_each = { for name, key in var.set_signing_keys : name => key if key.trusted && key.enabled }
  key_id   = aws_kms_key.set_signing[each.key].arn
}

resource "aws_kms_key" "os_signing" {
  # checkov:skip=CKV_AWS_7: KMS does not rotate asymmetric keys; docs/cloud.md describes the rotation
  # checkov:skip=CKV_AWS_227: an operator disables a key by its variable
  for_each                 = var.os_signing_keys
  description              = "edge-ai: operating system (${each.key})"
  key_usage                = "SIGN_VERIFY"
  customer_master_key_spec = "ECC_NIST_P256"
  is_enabled               = each.value.enabled
  deletion_window_in_days  = 30
  policy = templatefile("${path.module}/policies/signing-key.json.tftpl", {
    root    = local.root
    signers = jsonencode(var.os_signers)
  })
  lifecycle {
    prevent_destroy = true
  }
}

# None while updates of the operating system are switched off.
resource "aws_kms_alias" "os_signing" {
  count         = var.current_os_signing_key == null ? 0 : 1
  name          = "alias/edge-os-signing"
  target_key_id = aws_kms_key.os_signing[var.current_os_signing_key].key_id
}

data "aws_kms_public_key" "os_signing" {
  for_each = { for name, key in var.os_signing_keys : name => key if key.trusted && key.enabled }
  key_id   = aws_kms_key.os_signing[each.key].arn
}
