variable "region" {
  description = "The region of infra/iot."
  type        = string
  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+)+-[0-9]$", var.region))
    error_message = "A region looks like eu-central-1."
  }
}

variable "parameters_key" {
  description = "ARN of the key that encrypts the secret parameters: the output parameters_key of infra/iot."
  type        = string
  validation {
    condition     = can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[0-9a-f-]{36}$", var.parameters_key))
    error_message = "The ARN of a KMS key, not of an alias."
  }
}

variable "instance_type" {
  description = "Kind of machine: a build wants cores and 2 GiB of memory for each."
  type        = string
  default     = "c7i.8xlarge"
  validation {
    condition     = can(regex("^[a-z0-9-]+\\.[a-z0-9]+$", var.instance_type))
    error_message = "An instance type looks like c7i.8xlarge."
  }
}

variable "disk_gib" {
  description = "Disk of the machine; a build needs about 150 GiB."
  type        = number
  default     = 300
  validation {
    condition     = var.disk_gib >= 200 && var.disk_gib <= 2000
    error_message = "From 200 to 2000 GiB."
  }
}

variable "idle_minutes" {
  description = "The machine stops itself after this long below 5 % of its processors."
  type        = number
  default     = 60
  validation {
    condition     = var.idle_minutes >= 15 && var.idle_minutes % 5 == 0
    error_message = "At least 15 minutes, in steps of 5."
  }
}

variable "cache_days" {
  description = "What no build has renewed in the cache for this long is removed."
  type        = number
  default     = 90
  validation {
    condition     = var.cache_days >= 7
    error_message = "At least 7 days."
  }
}
