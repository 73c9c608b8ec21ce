variable "region" {
  description = "AWS region of everything here. One installation per account and region: the names are fixed."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region looks like eu-central-1."
  }
}

variable "claims" {
  description = <<-EOT
    Claim certificates by batch of images. csr_file: path of the certificate request, from here; its key never comes near
    Terraform. active = false switches a batch off: no device can provision with it any more, provisioned ones go on.
  EOT
  type = map(object({
    csr_file = string
    active   = optional(bool, true)
  }))
  validation {
    condition     = length(var.claims) > 0
    error_message = "At least one batch is needed."
  }
  validation {
    condition     = alltrue([for name in keys(var.claims) : can(regex("^[a-zA-Z0-9-]{1,32}$", name))])
    error_message = "A batch is named with letters, digits and dashes, 32 at most."
  }
  validation {
    # The hook gets the ids of the active ones in its environment, which holds 4 kB.
    condition     = length([for claim in var.claims : claim if claim.active]) <= 50
    error_message = "At most 50 batches can be active."
  }
}

variable "current_claim" {
  description = "The batch whose certificate goes into new images."
  type        = string
  validation {
    condition     = try(var.claims[var.current_claim].active, false)
    error_message = "current_claim must name an active batch of claims."
  }
}

variable "signing_keys" {
  description = <<-EOT
    Keys that sign containers, by name. A key is never removed from here: trusted = false leaves its public half out of new
    images, enabled = false stops signing with it.
  EOT
  type = map(object({
    enabled = optional(bool, true)
    trusted = optional(bool, true)
  }))
  default = { "first" = {} }
  validation {
    condition     = alltrue([for name in keys(var.signing_keys) : can(regex("^[a-z0-9-]{1,32}$", name))])
    error_message = "A key is named with small letters, digits and dashes, 32 at most."
  }
}

variable "current_signing_key" {
  description = "The key that alias/edge-container-signing means."
  type        = string
  default     = "first"
  validation {
    condition     = try(var.signing_keys[var.current_signing_key].enabled && var.signing_keys[var.current_signing_key].trusted, false)
    error_message = "current_signing_key must name a key of signing_keys that is enabled and trusted."
  }
}

variable "signers" {
  description = "ARNs of the roles or users that may sign. Nobody else can, administrators of the account included."
  type        = list(string)
  validation {
    condition     = length(var.signers) > 0 && alltrue([for arn in var.signers : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$", arn))])
    error_message = "Each signer is the ARN of an IAM role or user, and there is at least one."
  }
}

variable "alarm_emails" {
  description = "Addresses that get the alarms; each must confirm once."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "An e-mail address has one @ and no spaces."
  }
}

variable "offline_alarm_threshold" {
  description = "Devices lost within five minutes from which on there is an alarm."
  type        = number
  default     = 1
  validation {
    condition     = var.offline_alarm_threshold >= 1 && floor(var.offline_alarm_threshold) == var.offline_alarm_threshold
    error_message = "A whole number from 1."
  }
}

variable "refused_alarm_threshold" {
  description = "Provisionings refused within five minutes from which on there is an alarm."
  type        = number
  default     = 1
  validation {
    condition     = var.refused_alarm_threshold >= 1 && floor(var.refused_alarm_threshold) == var.refused_alarm_threshold
    error_message = "A whole number from 1."
  }
}

variable "log_retention_days" {
  description = "How long logs are kept."
  type        = number
  default     = 365
  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827], var.log_retention_days)
    error_message = "One of CloudWatch's steps from 30 to 1827 days."
  }
}

variable "keep_images" {
  description = "Container images kept in the registry, newest first. Signatures are kept always."
  type        = number
  default     = 1000
  validation {
    condition     = var.keep_images >= 50 && var.keep_images <= 100000
    error_message = "From 50 to 100000: devices pull old versions too."
  }
}
