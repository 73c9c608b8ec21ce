variable "region" {
  description = "AWS region. One installation per account and region, since the names are fixed."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "region must have the form of eu-central-1."
  }
}

variable "claims" {
  description = <<-EOT
    Claim certificates by batch of images. csr_file: path of the certificate request, relative to this directory; its key is
    never given to Terraform. active = false closes a batch: no device can be provisioned with it, provisioned ones keep working.
  EOT
  type = map(object({
    csr_file = string
    active   = optional(bool, true)
  }))
  validation {
    condition     = length(var.claims) > 0
    error_message = "claims must have at least one batch."
  }
  validation {
    condition     = alltrue([for name in keys(var.claims) : can(regex("^[a-zA-Z0-9-]{1,32}$", name))])
    error_message = "Names of claims must be 1 to 32 letters, digits and dashes."
  }
  validation {
    # The hook gets the IDs of active claims in its environment, which is limited to 4 kB.
    condition     = length([for claim in var.claims : claim if claim.active]) <= 50
    error_message = "claims must have at most 50 active batches."
  }
}

variable "current_claim" {
  description = "Batch whose certificate is put into new images."
  type        = string
  validation {
    condition     = try(var.claims[var.current_claim].active, false)
    error_message = "current_claim must name an active batch of claims."
  }
}

variable "signing_keys" {
  description = <<-EOT
    Keys that sign container images, by name. Never remove a key: trusted = false leaves its public half out of new images,
    enabled = false stops signing with it.
  EOT
  type = map(object({
    enabled = optional(bool, true)
    trusted = optional(bool, true)
  }))
  default = { "first" = {} }
  validation {
    condition     = alltrue([for name in keys(var.signing_keys) : can(regex("^[a-z0-9-]{1,32}$", name))])
    error_message = "Names of signing_keys must be 1 to 32 lower-case letters, digits and dashes."
  }
}

variable "current_signing_key" {
  description = "Key that alias/edge-container-signing refers to."
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
    error_message = "signers must have at least one entry, each the ARN of an IAM role or user."
  }
}

variable "engineer_signing_keys" {
  description = <<-EOT
    Keys that sign break-glass tickets, by name. None: images take no tickets. Never remove a key: trusted = false leaves its
    public half out of new images, enabled = false stops signing with it.
  EOT
  type = map(object({
    enabled = optional(bool, true)
    trusted = optional(bool, true)
  }))
  default = {}
  validation {
    condition     = alltrue([for name in keys(var.engineer_signing_keys) : can(regex("^[a-z0-9-]{1,32}$", name))])
    error_message = "Names of engineer_signing_keys must be 1 to 32 lower-case letters, digits and dashes."
  }
}

variable "current_engineer_signing_key" {
  description = "Key that alias/edge-engineer-signing refers to; null while tickets are switched off."
  type        = string
  default     = null
  validation {
    condition = var.current_engineer_signing_key == null ? alltrue([for key in var.engineer_signing_keys : !(key.enabled && key.trusted)]) : try(
      var.engineer_signing_keys[var.current_engineer_signing_key].enabled && var.engineer_signing_keys[var.current_engineer_signing_key].trusted, false
    )
    error_message = "current_engineer_signing_key must name a key of engineer_signing_keys that is enabled and trusted, or be null if there is none."
  }
}

variable "ticket_signers" {
  description = "ARNs of the roles or users that may sign break-glass tickets. Nobody else can, administrators of the account included."
  type        = list(string)
  default     = []
  validation {
    condition     = length(var.ticket_signers) > 0 || length(var.engineer_signing_keys) == 0
    error_message = "ticket_signers must have at least one entry if there are engineer_signing_keys."
  }
  validation {
    condition     = alltrue([for arn in var.ticket_signers : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$", arn))])
    error_message = "Each entry of ticket_signers must be the ARN of an IAM role or user."
  }
}

variable "set_signing_keys" {
  description = <<-EOT
    Keys that sign release sets, by name. None: images take no release sets that only KMS signed. Never remove a key:
    trusted = false leaves its public half out of new images, enabled = false stops signing with it.
  EOT
  type = map(object({
    enabled = optional(bool, true)
    trusted = optional(bool, true)
  }))
  default = {}
  validation {
    condition     = alltrue([for name in keys(var.set_signing_keys) : can(regex("^[a-z0-9-]{1,32}$", name))])
    error_message = "Names of set_signing_keys must be 1 to 32 lower-case letters, digits and dashes."
  }
}

variable "current_set_signing_key" {
  description = "Key that alias/edge-set-signing refers to; null while there is none."
  type        = string
  default     = null
  validation {
    condition = var.current_set_signing_key == null ? alltrue([for key in var.set_signing_keys : !(key.enabled && key.trusted)]) : try(
      var.set_signing_keys[var.current_set_signing_key].enabled && var.set_signing_keys[var.current_set_signing_key].trusted, false
    )
    error_message = "current_set_signing_key must name a key of set_signing_keys that is enabled and trusted, or be null if there is none."
  }
}

variable "set_signers" {
  description = "ARNs of the roles or users that may sign release sets. Nobody else can, administrators of the account included."
  type        = list(string)
  default     = []
  validation {
    condition     = length(var.set_signers) > 0 || length(var.set_signing_keys) == 0
    error_message = "set_signers must have at least one entry if there are set_signing_keys."
  }
  validation {
    condition     = alltrue([for arn in var.set_signers : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$", arn))])
    error_message = "Each entry of set_signers must be the ARN of an IAM role or user."
  }
}

variable "os_signing_keys" {
  description = <<-EOT
    Keys that sign images of the operating system, by name. None: devices take no updates. Never remove a key: trusted = false leaves its
    public half out of new images, enabled = false stops signing with it.
  EOT
  type = map(object({
    enabled = optional(bool, true)
    trusted = optional(bool, true)
  }))
  default = {}
  validation {
    condition     = alltrue([for name in keys(var.os_signing_keys) : can(regex("^[a-z0-9-]{1,32}$", name))])
    error_message = "Names of os_signing_keys must be 1 to 32 lower-case letters, digits and dashes."
  }
}

variable "current_os_signing_key" {
  description = "Key that alias/edge-os-signing refers to; null while updates are switched off."
  type        = string
  default     = null
  validation {
    condition = var.current_os_signing_key == null ? alltrue([for key in var.os_signing_keys : !(key.enabled && key.trusted)]) : try(
      var.os_signing_keys[var.current_os_signing_key].enabled && var.os_signing_keys[var.current_os_signing_key].trusted, false
    )
    error_message = "current_os_signing_key must name a key of os_signing_keys that is enabled and trusted, or be null if there is none."
  }
}

variable "os_signers" {
  description = "ARNs of the roles or users that may sign images of the operating system. Nobody else can, administrators of the account included."
  type        = list(string)
  default     = []
  validation {
    condition     = length(var.os_signers) > 0 || length(var.os_signing_keys) == 0
    error_message = "os_signers must have at least one entry if there are os_signing_keys."
  }
  validation {
    condition     = alltrue([for arn in var.os_signers : can(regex("^arn:aws[a-z-]*:iam::[0-9]{12}:(role|user)/.+$", arn))])
    error_message = "Each entry of os_signers must be the ARN of an IAM role or user."
  }
}

variable "alarm_emails" {
  description = "E-mail addresses that receive the alarms; each must confirm once."
  type        = list(string)
  default     = []
  validation {
    condition     = alltrue([for address in var.alarm_emails : can(regex("^[^@\\s]+@[^@\\s]+$", address))])
    error_message = "alarm_emails must be addresses with one @ and no spaces."
  }
}

variable "offline_alarm_threshold" {
  description = "Number of devices lost within five minutes that raises an alarm."
  type        = number
  default     = 1
  validation {
    condition     = var.offline_alarm_threshold >= 1 && floor(var.offline_alarm_threshold) == var.offline_alarm_threshold
    error_message = "offline_alarm_threshold must be a whole number from 1."
  }
}

variable "refused_alarm_threshold" {
  description = "Number of provisionings refused within five minutes that raises an alarm."
  type        = number
  default     = 1
  validation {
    condition     = var.refused_alarm_threshold >= 1 && floor(var.refused_alarm_threshold) == var.refused_alarm_threshold
    error_message = "refused_alarm_threshold must be a whole number from 1."
  }
}

variable "failed_alarm_threshold" {
  description = "Number of devices that fail a job within five minutes that raises an alarm."
  type        = number
  default     = 1
  validation {
    condition     = var.failed_alarm_threshold >= 1 && floor(var.failed_alarm_threshold) == var.failed_alarm_threshold
    error_message = "failed_alarm_threshold must be a whole number from 1."
  }
}

variable "sample_retention_days" {
  description = "Retention of the devices' samples, in days."
  type        = number
  default     = 90
  validation {
    condition     = contains([7, 14, 30, 60, 90, 120, 150, 180, 365], var.sample_retention_days)
    error_message = "sample_retention_days must be one of CloudWatch's values from 7 to 365."
  }
}

variable "log_retention_days" {
  description = "Retention of logs, in days."
  type        = number
  default     = 365
  validation {
    condition     = contains([30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827], var.log_retention_days)
    error_message = "log_retention_days must be one of CloudWatch's values from 30 to 1827."
  }
}

variable "keep_images" {
  description = "Number of container images kept in the registry, newest first. Signatures are always kept."
  type        = number
  default     = 1000
  validation {
    condition     = var.keep_images >= 50 && var.keep_images <= 100000
    error_message = "keep_images must be from 50 to 100000: devices pull old versions too."
  }
}
